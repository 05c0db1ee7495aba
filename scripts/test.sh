#!/usr/bin/env bash
# Everything a change must pass: format, lint, types, layers, all tests, and the runbook with the product as pods.
# Arguments go to pytest (-n 0: one test at a time), and leave the pods out.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare all
lint
say "tests"
python -m pytest -W error --fleet-report out -n 2 "$@"
[ $# -gt 0 ] && exit
say "the runbook on a Kubernetes node"
exec python -m pytest e2e/test_runbook.py -W error -p no:randomly --fleet-report out/node --fleet-target node
