#!/usr/bin/env bash
# The chapters about a device, on a virtual machine with real systemd, sshd and podman (root, Debian). Arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare
prepare_machines
say "the runbook on a virtual machine"
exec python -m pytest e2e/test_machines.py e2e/test_volatile_disk.py e2e/test_power_cuts.py e2e/test_kept_machine.py -m libvirt -v -o console_output_style=times -W error -p no:randomly --timeout 1800 \
  --fleet-report out "$@"
