"""What a machine must have for a node target, checked before anything starts and reported in one message."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.errors import TargetUnavailable
from harness.processes.search_path import missing_packages, search_path

_PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
"""Programs, and the Debian packages that hold them."""
_PLUGIN = Path("/usr/lib/cni/ptp")
_COVERED = ("/run", "/var/run", "/var/lib", "/var/log", "/proc", "/sys", "/dev")


def check(root: Path) -> None:
    """Whether a cluster may live in `root`.

    Raises:
        TargetUnavailable: the message lists everything that is missing.
    """
    missing = set(missing_packages(_PACKAGES, search_path()))
    if not _PLUGIN.exists():
        missing.add("containernetworking-plugins")
    found = {
        "it is not Linux": sys.platform != "linux",
        "it needs root, for namespaces and mounts": os.geteuid() != 0,
        f"missing: {' '.join(sorted(missing))}": missing,
        f"{root} is covered inside a node": any(root.is_relative_to(covered) for covered in _COVERED),
    }
    problems = [problem for problem, holds in found.items() if holds]
    if problems:
        raise TargetUnavailable(
            f"no Kubernetes node can run here: {'; '.join(problems)}",
            next_step=_next_step(missing),
        )


def _next_step(missing: set[str]) -> str:
    install = f"apt-get install {' '.join(sorted(missing))}, and " if missing else ""
    return f"{install}run as root with TMPDIR outside of {', '.join(_COVERED)}; or use --fleet-target embedded"
