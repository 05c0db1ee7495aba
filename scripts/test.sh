#!/usr/bin/env bash
# Everything a change must pass: format, lint, types, layers, then all tests. Arguments go to pytest (-n 0: one test at a time).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare all
lint
say "tests"
exec python -m pytest -W error --fleet-report out -n 2 "$@"
