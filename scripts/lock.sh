#!/usr/bin/env bash
# Writes requirements/*.txt anew: every package pinned with its hashes, and no registry's address.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare_python

# lock FILE ARGUMENTS...: what pip-compile finds for this project with these arguments.
lock() {
  local file=$1; shift
  say "resolving $file"
  CUSTOM_COMPILE_COMMAND=scripts/lock.sh pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@" -o "$file" pyproject.toml
  # The extras refer to this very project, which is installed from its folder and has no hash.
  python - "$file" <<'P'
import re, sys
path = sys.argv[1]
text = open(path).read()
text = re.sub(r"^fleet[ \[@=][^\n]*\n(?:[ ]+[^\n]*\n)*", "", text, flags=re.M)
text = re.sub(r"^# WARNING:[^\n]*\n(?:#[^\n]*\n)*", "", text, flags=re.M)
open(path, "w").write(text)
P
}

lock requirements/dev.txt --extra dev "$@"
# The image runs what was tested.
lock requirements/image.txt --extra server --extra cli --no-annotate --constraint requirements/dev.txt
# What an agent's artefact holds: the same versions, and nothing but them.
lock requirements/agent.txt --extra agent --constraint requirements/dev.txt
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
