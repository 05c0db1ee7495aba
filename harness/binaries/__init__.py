"""The real servers that a world runs: where they are, and how they come to be.

Precedence: an explicit variable (`KUBEBUILDER_ASSETS`, a folder; `NATS_SERVER`, a file), then the cache, then a build
from the `go.mod` beside this file, whose `tool` directives and `go.sum` pin them. `python -m harness.binaries` prepares
all of them; the first time takes about 4 minutes on 2 cores, later times nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from harness.binaries.build import Progress, build_once, to_stderr
from harness.errors import BinaryMissing

NAMES = ("kube-apiserver", "etcd", "nats-server")
"""What `resolve` knows."""

_MODULE = Path(__file__).parent
_VARIABLES = {"kube-apiserver": "KUBEBUILDER_ASSETS", "etcd": "KUBEBUILDER_ASSETS", "nats-server": "NATS_SERVER"}


def resolve(name: str, *, progress: Progress = to_stderr) -> Path:
    """The executable of one of `NAMES`; builds all of them when none is at hand.

    Raises:
        BinaryMissing: a variable points nowhere, or nothing is cached and there is no Go to build with.
        BuildFailed: Go ran, and failed.
    """
    return _given(name) or _built(progress) / name


def resolve_all(*, progress: Progress = to_stderr) -> dict[str, Path]:
    """Every server by name; as `resolve`."""
    return {name: resolve(name, progress=progress) for name in NAMES}


def _given(name: str) -> Path | None:
    variable = _VARIABLES[name]
    value = os.environ.get(variable)
    if not value:
        return None
    path = Path(value) / name if variable == "KUBEBUILDER_ASSETS" else Path(value)
    if not os.access(path, os.X_OK):
        raise BinaryMissing(
            f"{variable}={value}, but {path} is not an executable file",
            next_step=f"correct {variable}, or unset it to use the cache or a build",
        )
    return path


def _built(progress: Progress) -> Path:
    flags = linker_flags((_MODULE / "go.mod").read_text())
    return build_once(_MODULE, cache() / digest(_MODULE, flags), flags, NAMES, progress)


def cache() -> Path:
    """Where built servers are kept: `$XDG_CACHE_HOME/fleet/binaries`, or under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleet" / "binaries"


def digest(module: Path, flags: str) -> str:
    """What a build depends on, as a folder name: pins, checksums and flags."""
    content = (module / "go.mod").read_bytes() + (module / "go.sum").read_bytes() + flags.encode()
    return hashlib.sha256(content).hexdigest()[:16]


def linker_flags(go_mod: str) -> str:
    """Strip symbols, and stamp the API server's version, which it otherwise reports as v0.0.0-master."""
    found = re.search(r"\sk8s\.io/kubernetes (v\S+)", go_mod)
    version = found.group(1) if found else "v0.0.0"
    return f"-s -w -X k8s.io/component-base/version.gitVersion={version}"
