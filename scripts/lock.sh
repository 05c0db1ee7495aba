#!/usr/bin/env bash
# Writes requirements/*.txt anew: every package pinned with its hashes, and no registry's address.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare_python

# The harness needs the product, which no registry has.
product=$(mktemp -d)
trap 'rm -rf "$product"' EXIT
python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$product" .
rm -rf build/lib build/bdist.*

# lock FILE PROJECT ARGUMENTS...: what pip-compile finds for a pyproject.toml with these arguments.
lock() {
  local file=$1 project=$2; shift 2
  say "resolving $file"
  CUSTOM_COMPILE_COMMAND=scripts/lock.sh pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --find-links "$product" "$@" -o "$file" "$project"
  # The product is installed from its folder, and has no hash that lasts.
  python - "$file" <<'P'
import re, sys
path = sys.argv[1]
text = open(path).read()
text = re.sub(r"^fleet[ \[@=][^\n]*\n(?:[ ]+[^\n]*\n)*", "", text, flags=re.M)
text = re.sub(r"^# WARNING:[^\n]*\n(?:#[^\n]*\n)*", "", text, flags=re.M)
open(path, "w").write(text)
P
}

# lock_extra NAME: what an extra of the harness names, and nothing else.
lock_extra() {
  python - "$1" > "$product/$1.in" <<'P'
import sys, tomllib
project = tomllib.load(open("distributions/harness/pyproject.toml", "rb"))["project"]
print(*project["optional-dependencies"][sys.argv[1]], sep="\n")
P
  lock "requirements/$1.txt" "$product/$1.in" --no-annotate --constraint requirements/dev.txt
}

lock requirements/dev.txt distributions/harness/pyproject.toml --extra dev --extra k3d "$@"
# The image runs what was tested.
lock requirements/image.txt pyproject.toml --extra server --extra cli --no-annotate --constraint requirements/dev.txt
# What builds packages that are published as source alone: nkeys, and fleet itself.
lock requirements/build.txt pyproject.toml --only-build-deps --build-deps-for wheel --constraint requirements/dev.txt
# What an agent's artefact holds: the same versions, and nothing but them.
lock requirements/agent.txt pyproject.toml --extra agent --constraint requirements/dev.txt
# What only virtual machines need: it has no wheel, and wants a compiler and headers.
lock_extra libvirt
# What makes a site of the documents.
lock_extra docs
(cd reports && npm install --package-lock-only --omit-lockfile-registry-resolved=true --no-audit --no-fund)
# Nor whom to send money to.
python - reports/package-lock.json <<'P'
import json, sys
path = sys.argv[1]
lock = json.load(open(path))
for package in lock["packages"].values():
    package.pop("funding", None)
with open(path, "w") as file:
    json.dump(lock, file, indent=2, ensure_ascii=False)
    file.write("\n")
P
