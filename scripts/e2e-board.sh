#!/usr/bin/env bash
# The chapters about a device on an emulated board with an ARM processor, over SSH (root, Debian). Arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare
prepare_board
say "the runbook on an emulated board"
exec python -m harness.devices.vm.board python -m pytest e2e/test_boards.py -m pi -v -o console_output_style=times -W error -p no:randomly \
  --timeout 3600 --fleet-lab '{lab}' --fleet-report out/board "$@"
