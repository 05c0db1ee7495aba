"""Which versions a run was about: our own, and those of the real servers."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_SERVERS = {
    "kube-apiserver": r"k8s\.io/kubernetes (v\S+)",
    "etcd": r"go\.etcd\.io/etcd/server/v3 (v\S+)",
    "nats-server": r"github\.com/nats-io/nats-server/v2 (v\S+)",
}


def versions() -> dict[str, str]:
    """By name; the servers' are those that `harness/binaries/go.mod` pins."""
    pins = (_ROOT / "harness" / "binaries" / "go.mod").read_text()
    found = {name: re.search(pattern, pins) for name, pattern in _SERVERS.items()}
    return {
        "fleet": version("fleet"),
        "commit": _commit(),
        **{name: match.group(1) for name, match in found.items() if match is not None},
    }


def _commit() -> str:
    """The commit that ran, with `+` when files differ from it; `unknown` outside a repository."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],  # noqa: S607 - git is found as everywhere
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
