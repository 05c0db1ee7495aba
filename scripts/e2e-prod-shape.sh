#!/usr/bin/env bash
# The production runbook, end to end: install, enroll, deploy, observe, break, revoke, remove; then the report.
# usage: e2e-prod-shape.sh [--target embedded] [pytest arguments]
set -euo pipefail
source "$(dirname "$0")/lib.sh"
target=embedded
if [ "${1:-}" = --target ]; then
  target=${2:?--target needs a name, such as embedded}
  shift 2
fi
prepare
say "the runbook on target $target"
exec python -m pytest e2e/test_runbook.py e2e/test_rules.py -W error -p no:randomly --fleet-report out --fleet-target "$target" "$@"
