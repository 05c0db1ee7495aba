#!/usr/bin/env bash
# One rollout and upgrades of agents over an emulated board, a virtual machine and a process (root, Debian). Arguments go
# to pytest.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare
prepare_machines
prepare_board
say "a mixed fleet"
exec python -m harness.devices.vm.board python -m pytest e2e/test_mixed_fleet.py -m "libvirt and pi" -v \
  -o console_output_style=times -W error -p no:randomly --timeout 3600 --fleet-lab '{lab}' --fleet-report out/mixed "$@"
