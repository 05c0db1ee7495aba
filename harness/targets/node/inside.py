"""What process 1 finds and makes in its new namespaces: mounts, a network, and then its components."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.processes import cgroups
from harness.targets.node import network
from harness.targets.node.init import Forward, be_init
from harness.targets.node.namespaces import BIND, NODEV, NOEXEC, NOSUID, PRIVATE, RECURSIVE, SHARED, mount
from harness.targets.node.plan import BRIDGE_ADDRESS, Machine, Plan

_FRESH = ("/run", "/var/lib", "/var/log", "/dev/shm")  # noqa: S108 - each becomes a memory file system of the inside
"""What daemons write at fixed places ends with the namespace."""
_FOLDERS = ("/run/lock", "/run/netns", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods")
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""The whole kernel's, and the kubelet insists on these values; it is shown files that hold them already."""


def run_control_plane(plan: Plan, alive: int, forwards: Sequence[Forward]) -> None:
    """Process 1 of a cluster; never returns."""
    _mount_all(plan.root, plan.cgroup, {plan.cgroup: BRIDGE_ADDRESS})
    network.make_bridge(plan)
    be_init(plan.root, alive, forwards)


def run_machine(plan: Plan, machine: Machine, alive: int) -> None:
    """Process 1 of a machine; never returns. Its link comes from outside: see `network.connect`."""
    root = plan.of(machine)
    _mount_all(root, machine.name, {other.name: other.address for other in plan.machines})
    _hide_sysctls(root / "sysctls")
    mount("", "/", flags=SHARED | RECURSIVE)  # for mount propagation into pods; the peers are this namespace's only
    network.make_machine(plan, machine)
    be_init(root, alive)


def _mount_all(root: Path, name: str, hosts: Mapping[str, str]) -> None:
    mount("", "/", flags=PRIVATE | RECURSIVE)
    mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
    hierarchies = _own_hierarchies()  # before /sys is covered
    unified = cgroups.unified()
    mount("sysfs", "/sys", "sysfs", NOSUID | NODEV | NOEXEC)
    _mount_unified() if unified else _mount_hierarchies(hierarchies)
    for folder in _FRESH:
        mount("fleet", folder, "tmpfs", options="mode=1777" if folder == "/dev/shm" else "mode=755")  # noqa: S108
    for folder in _FOLDERS:
        Path(folder).mkdir(parents=True, exist_ok=True)
    socket.sethostname(name)
    lines = ["127.0.0.1 localhost", *(f"{address} {host}" for host, address in hosts.items())]
    _show(root / "etc" / "hosts", "\n".join([*lines, ""]), "/etc/hosts")
    _show(root / "etc" / "resolv.conf", f"nameserver {BRIDGE_ADDRESS}\n", "/etc/resolv.conf")


def _own_hierarchies() -> list[str]:
    """Version 1: the controllers of each hierarchy, such as `cpu,cpuacct` or `name=systemd`."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return [controllers for line in lines if (controllers := line.split(":")[1])]


def _mount_hierarchies(hierarchies: Sequence[str]) -> None:
    mount("cgroups", "/sys/fs/cgroup", "tmpfs", options="mode=755")
    for controllers in hierarchies:
        folder = Path("/sys/fs/cgroup") / controllers.removeprefix("name=")
        folder.mkdir()
        named = controllers.startswith("name=")
        mount("cgroup", folder, "cgroup", options=f"none,{controllers}" if named else controllers)
        for controller in controllers.split(",") if "," in controllers else []:
            (folder.parent / controller).symlink_to(folder.name)


def _mount_unified() -> None:
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2")
    top = Path("/sys/fs/cgroup")
    (top / "init").mkdir(exist_ok=True)  # a group with children may hold no process itself
    (top / "init" / "cgroup.procs").write_text(str(os.getpid()))
    for controller in (top / "cgroup.controllers").read_text().split():
        (top / "cgroup.subtree_control").write_text(f"+{controller}")


def _hide_sysctls(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, value in _SYSCTLS.items():
        real = Path("/proc/sys") / name
        if real.exists() and real.read_text().strip() != value:
            shown = folder / name.replace("/", ".")
            shown.write_text(f"{value}\n")
            mount(str(shown), real, flags=BIND)


def _show(file: Path, content: str, at: str) -> None:
    """Let a file of ours stand in place of one of /etc, which may be a link to something that is covered now."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    target = Path(at).resolve()
    if target.exists():
        mount(str(file), target, flags=BIND)
