#!/usr/bin/env bash
# Everything a change must pass: format, lint, types, layers, the runbook on a Kubernetes node, then all tests.
# Arguments go to pytest (-n 0: one test at a time), and leave the runbook on a node out.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare all
lint
if [ $# -eq 0 ]; then
  say "the runbook on a Kubernetes node (about 2 minutes)"
  python -m pytest e2e/test_runbook.py --fleet-target node -n 3 -W error -p no:randomly --fleet-report out/node
fi
say "tests"
exec python -m pytest -W error --fleet-report out/tests -n 2 "$@"
