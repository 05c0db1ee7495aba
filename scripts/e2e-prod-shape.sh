#!/usr/bin/env bash
# The production runbook, end to end: install, enroll, deploy, observe, break, revoke, remove; then the report.
set -euo pipefail

usage() {
  cat <<'U'
usage: e2e-prod-shape.sh [--target TARGET] [--resume] [pytest arguments]

Plays the runbook and leaves a report in out/. The same on every target:

  embedded   processes on this machine (the default)
  node       pods on a real Kubernetes node, made here (root, Linux)
  k3d        pods in a k3d cluster, with a real Zitadel (docker and k3d)
  FILE       a cluster that exists, described in FILE (docs/targets.md)

On "embedded" and "node" three workers share the work; -n 0 plays one scenario at a time.

  --resume   go on after the last scenario that was proven for this very source and target
  --help     this text

Environment: PYTHON names the Python to use; FLEET_ENGINE_SOCKET a container engine for devices.
U
}
refuse() { printf '%s\n  next: %s\n' "$1" "$2" >&2; exit 2; }

here=$PWD
target=embedded resume=
while [ $# -gt 0 ]; do
  case $1 in
    --target) target=${2:-}; [ -n "$target" ] || refuse "--target needs a value" "give embedded, node, k3d or a file"; shift 2 ;;
    --target=*) target=${1#--target=}; shift ;;
    --resume) resume=1; shift ;;
    -h | --help) usage; exit 0 ;;
    *) break ;;
  esac
done
servers=() chosen=$target select=()
case $target in
  # More workers than cores: a scenario spends a third of its time waiting, for devices that come back and agents on trial.
  embedded) select=(-n 3) ;;
  node) servers=(all) select=(-n 3) ;;
  k3d) select=(-m k3d) ;;
  *)
    file=$target; case $file in /*) ;; *) file=$here/$file ;; esac
    [ -f "$file" ] || refuse "there is no target '$target', and no file of that name" "give embedded, node, k3d or a file"
    chosen=staging:$file select=(-m staging)
    ;;
esac

source "$(dirname "$0")/lib.sh"
# What is proven is proven for these very files: the commit, and what was changed since.
source_id() { { git rev-parse HEAD && git diff HEAD && git status --porcelain; } 2>/dev/null | sha256sum | cut -c1-16; }
git rev-parse HEAD >/dev/null 2>&1 || [ -z "$resume" ] || fail "this is no git checkout, so nobody can tell what was proven for it" "run it without --resume"
mkdir -p out
proven=out/proven-$(printf %s "$chosen" | tr -c 'a-zA-Z0-9\n' - | tail -c 60)-$(source_id).txt
[ -n "$resume" ] || rm -f "$proven"
[ -n "$resume" ] && [ ! -s "$proven" ] && say "nothing is proven yet for this source and target: all of it is played"

say "preparing"
prepare ${servers[@]+"${servers[@]}"}
prepare_browser
[ ! -s "$proven" ] || say "going on: $(wc -l < "$proven") scenarios are proven already"
say "the runbook on target $target"
code=0
python -m pytest e2e/test_runbook.py e2e/test_rules.py -v -o console_output_style=times -W error -p no:randomly \
  --fleet-report out --fleet-target "$chosen" --fleet-resume "$proven" ${select[@]+"${select[@]}"} "$@" || code=$?
if [ "$code" -eq 5 ] && [ -s "$proven" ]; then
  say "everything is proven already; the report is out/index.html"
  exit 0
fi
if [ "$code" -eq 0 ]; then say "done"; else say "not proven; once it is mended: $0 --target $target --resume"; fi
exit "$code"
