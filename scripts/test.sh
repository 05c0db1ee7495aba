#!/usr/bin/env bash
# Everything a change must pass: format, lint, types, layers, the runbook on a Kubernetes node, then all tests.
# Tests run in one shuffled order and with one choice of inputs, so that what fails here fails again; with --shuffle in
# another one, as every night.
# Other arguments go to pytest (-n 0: one test at a time), and leave the runbook on a node out.
# Three workers, for two used half of two cores: many tests wait for what happens elsewhere.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
order=1
inputs=repeatable
[ "${1:-}" != --shuffle ] || { order=$RANDOM; inputs=random; shift; }
prepare all
prepare_browser
lint
prepare_docs
site
if [ $# -eq 0 ]; then
  say "the runbook on a Kubernetes node (about 2 minutes)"
  # The rotations take another minute and a half there, for they restart pods fifty times: docs/targets.md.
  python -m pytest e2e/test_runbook.py --fleet-target node -k "not rotate" -n 3 -W error -p no:randomly \
    --fleet-report out/node
  say "the chapters about workloads with podman's manners (about a minute)"
  FLEET_ENGINE_SOCKET=double-podman python -m pytest e2e/test_runbook.py -k "retire or deploy or test_update or observe or remove" \
    -n 2 -W error -p no:randomly --fleet-report out/podman
  # Its bounds are seconds and MiB, so nothing else may run beside it.
  say "the hostile device (about a minute)"
  python -m pytest e2e/test_hostile.py -W error -p no:randomly --fleet-report out/siege
  set -- --ignore e2e/test_hostile.py
fi
if [ "$inputs" = random ]; then
  say "every state of an upgrade, with the largest slice, which the tests leave out (about 5 minutes)"
  python -m tests.upgrade.model
  git diff --exit-code docs/upgrade.md # it has the numbers that were found
fi
say "tests, in order $order (again: ./scripts/test.sh --randomly-seed $order)"
exec python -m pytest -W error --fleet-report out/tests -n 3 --randomly-seed "$order" --hypothesis-profile "$inputs" "$@"
