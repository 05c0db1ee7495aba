"""The real servers that a world runs: where they are, and how they come to be.

Precedence: an explicit variable (`KUBEBUILDER_ASSETS`, a folder; `NATS_SERVER`, a file), then the cache, then a build
from a `go.mod` beside this file, whose pins and `go.sum` fix them. What belongs together is built together, and only
when something asks for it: an embedded world needs `NAMES`, a node of Kubernetes also `NODE_NAMES`, a chart `helm`.
`python -m harness.binaries [NAME...]` prepares `NAMES`, or those named; the first time takes about 4 minutes on
2 cores, later times nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from fleet.process.user_folders import user_cache
from harness.binaries.build import Build, Progress, build_once, to_stderr
from harness.errors import BinaryMissing, Misused

_MODULE = Path(__file__).parent
_ADDONS = _MODULE / "addons"

NAMES = ("kube-apiserver", "etcd", "nats-server")
"""What an embedded world runs."""
NODE_NAMES = ("kuberoles", "coredns")
"""What a node of Kubernetes runs besides: its other roles in one program, and the names of its services."""

BUILDS = (
    Build(_MODULE, "tool", NAMES),
    Build(_MODULE, "./kuberoles", ("kuberoles",)),
    Build(_MODULE, "./pause", ("pause",)),
    Build(_ADDONS, "./coredns", ("coredns",)),
    Build(_ADDONS, "helm.sh/helm/v3/cmd/helm", ("helm",)),
)
"""Each is one run of Go. The add-ons need newer libraries than Kubernetes is pinned with: they are another module."""

_VARIABLES = {"kube-apiserver": "KUBEBUILDER_ASSETS", "etcd": "KUBEBUILDER_ASSETS", "nats-server": "NATS_SERVER"}


def resolve(name: str, *, progress: Progress = to_stderr) -> Path:
    """The executable of a name in `BUILDS`; builds it, and what is built with it, when none is at hand.

    Raises:
        BinaryMissing: a variable points nowhere, or nothing is cached and there is no Go to build with.
        BuildFailed: Go ran, and failed.
        Misused: nothing of that name is pinned.
    """
    build = next((build for build in BUILDS if name in build.names), None)
    if build is None:
        names = ", ".join(name for build in BUILDS for name in build.names)
        raise Misused(f"no server {name!r} is pinned", next_step=f"use one of {names}")
    return _given(name) or _built(build, progress) / name


def resolve_all(names: Sequence[str] = NAMES, *, progress: Progress = to_stderr) -> dict[str, Path]:
    """Several by name; as `resolve`."""
    return {name: resolve(name, progress=progress) for name in names}


def _given(name: str) -> Path | None:
    variable = _VARIABLES.get(name, "")
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


def _built(build: Build, progress: Progress) -> Path:
    flags = linker_flags((build.module / "go.mod").read_text())
    return build_once(build, cache() / digest(build, flags), flags, progress)


def cache() -> Path:
    """Where built servers are kept: `$XDG_CACHE_HOME/fleet/binaries`, or under `~/.cache`."""
    return user_cache() / "fleet" / "binaries"


def digest(build: Build, flags: str) -> str:
    """What a build depends on, as a folder name: pins, checksums, flags and our own source."""
    own = sorted((build.module / build.package).glob("*.go")) if build.package.startswith(".") else []
    content = b"".join(path.read_bytes() for path in [build.module / "go.mod", build.module / "go.sum", *own])
    return hashlib.sha256(content + f"{build.package} {flags}".encode()).hexdigest()[:16]


def linker_flags(go_mod: str) -> str:
    """Strip symbols, and stamp the version of Kubernetes, which it otherwise reports as v0.0.0-master."""
    match = re.search(r"\sk8s\.io/kubernetes (v\S+)", go_mod)
    return "-s -w" + (f" -X k8s.io/component-base/version.gitVersion={match.group(1)}" if match else "")
