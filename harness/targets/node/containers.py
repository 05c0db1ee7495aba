"""Containers of a cluster as processes: found by their control groups, which the outside sees too, and signalled."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from harness.processes import cgroups
from harness.processes.files import folders_below
from harness.targets.node.plan import Plan

Json = dict[str, Any]


def processes(plan: Plan, pod: Json) -> list[int]:
    """The processes of a pod's containers, as this machine numbers them; the first is a container's main one."""
    base = Path("/sys/fs/cgroup") if cgroups.unified() else Path("/sys/fs/cgroup/pids")
    machine = pod["spec"].get("nodeName", "")
    pids: list[int] = []
    for status in pod["status"].get("containerStatuses", []):
        container = status.get("containerID", "").removeprefix("containerd://")
        groups = folders_below(base / plan.cgroup / machine) if container and machine else ()
        for group in (candidate for candidate in groups if candidate.name == container):
            with contextlib.suppress(OSError):
                pids += map(int, (group / "cgroup.procs").read_text().split())
    return pids


def send(plan: Plan, pod: Json, number: int) -> int:
    """Send a signal to every process of a pod's containers; returns how many there were."""
    pids = processes(plan, pod)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(pids)
