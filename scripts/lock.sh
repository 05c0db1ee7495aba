#!/usr/bin/env bash
# Writes requirements/dev.txt anew: every package pinned with its hashes, and no registry's address.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
prepare_python
say "resolving"
CUSTOM_COMPILE_COMMAND=scripts/lock.sh pip-compile --quiet --extra dev --generate-hashes --strip-extras --allow-unsafe \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@" -o requirements/dev.txt pyproject.toml
# The extras refer to this very project, which is installed from its folder and has no hash.
python - requirements/dev.txt <<'P'
import re, sys
path = sys.argv[1]
text = open(path).read()
text = re.sub(r"^fleet[ \[@=][^\n]*\n(?:[ ]+[^\n]*\n)*", "", text, flags=re.M)
text = re.sub(r"^# WARNING:[^\n]*\n(?:#[^\n]*\n)*", "", text, flags=re.M)
open(path, "w").write(text)
P
(cd reports && npm install --package-lock-only --omit-lockfile-registry-resolved=true --no-audit --no-fund)
