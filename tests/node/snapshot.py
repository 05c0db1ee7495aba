"""What of the host a cluster could change: taken before and after, and compared."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from harness.processes import cgroups

_OTHERS = re.compile(r"veth|fleet-br|cni-podman")
"""Links of a container engine that another test may have just now."""
_SYSCTLS = ("vm", "kernel/panic", "kernel/panic_on_oops", "kernel/keys", "net/ipv4/ip_forward", "net/ipv4/conf/all")


def host() -> dict[str, list[str]]:
    """Mounts, links, routes, rules without their counters, and system settings, by kind."""
    links = [line.split(":")[1].strip() for line in _run("ip", "-o", "link").splitlines()]
    return {
        "mounts": [line.split(" - ")[0].split()[4] for line in _lines("/proc/self/mountinfo")],
        "links": [link for link in links if not _OTHERS.search(link)],
        "routes": [line for line in _run("ip", "route").splitlines() if not _OTHERS.search(line)],
        "rules": [*_run("ip", "rule").splitlines(), *_run("nft", "--stateless", "list", "ruleset").splitlines()],
        "sysctls": _sysctls(),
    }


def members(cgroup: str) -> list[int]:
    """The processes in a control group of ours, in whichever hierarchy."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"/{cgroup}" in (folder / "cgroup").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def groups(cgroup: str) -> list[Path]:
    """Its folders."""
    base = Path("/sys/fs/cgroup")
    return [path for path in (base / cgroup, *base.glob(f"*/{cgroup}")) if path.exists()] if cgroups else []


def _sysctls() -> list[str]:
    found: list[str] = []
    for name in _SYSCTLS:
        path = Path("/proc/sys") / name
        for file in sorted(path.glob("*")) if path.is_dir() else [path]:
            try:
                found.append(f"{file}={file.read_text().strip()}")
            except OSError:
                continue
    return found


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
