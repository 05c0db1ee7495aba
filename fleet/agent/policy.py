"""The device owner's policy at work: what a workload wants of the device is looked at before the engine is asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fleet.agent.answers import Details, Mounted, State
from fleet.agent.problems import Problem, Waits
from fleet.contract.errors import InvalidInput
from fleet.contract.mounts import Mount, MountType
from fleet.contract.policy import POLICY_PATH, DevicePolicy, allowed_folder, objections
from fleet.contract.wire import Container, Reason
from fleet.contract.written import parse_written
from fleet.process.failures import in_words
from fleet.process.plain_file import read_file


def read_policy(path: Path) -> DevicePolicy:
    """The policy, read anew each time: what its owner writes counts from the next start of a workload.

    Raises:
        InvalidInput: it does not parse, or holds what nobody knows.
        OSError: it cannot be read.
    """
    try:
        data = read_file(path)
    except FileNotFoundError:
        return DevicePolicy()
    return parse_written(data, DevicePolicy, str(path), next_step="correct it on the device")


def refusal(workload: Container, root: Path, others: Sequence[Details]) -> Problem | None:
    """Why the device does not let the workload start, or does not yet; None where nothing is against it.

    Args:
        workload: What is to start.
        root: The root of the device's paths.
        others: The containers that the agent made.
    """
    try:
        policy = read_policy(root / POLICY_PATH.lstrip("/"))
    except (InvalidInput, OSError) as error:
        policy = DevicePolicy()
        unread = f"; its policy cannot be read: {error.what if isinstance(error, InvalidInput) else in_words(error)}"
    else:
        unread = ""
    if faults := objections(workload, policy):
        forbidden = f"the device's owner does not allow {', '.join(faults)} (see {POLICY_PATH} on the device){unread}"
        return Problem(Reason.NOT_ALLOWED, forbidden)
    binds = [mount for mount in workload.mounts if mount.type is MountType.BIND]
    for mount in binds:
        own = [Mounted("bind", _real(root, one.source), not one.read_only) for one in binds]
        if why := _unfit(mount, policy, root, (*others, Details("", State(""), "it", mounts=own))):
            return Problem(Reason.NOT_ALLOWED, why)
    missing = [device.source for device in workload.devices if not _is_device(root / device.source.lstrip("/"))]
    if missing:
        return Waits(Reason.DEVICE_MISSING, f"waits for {', '.join(missing)}: plug it in")
    return None


def _unfit(mount: Mount, policy: DevicePolicy, root: Path, others: Sequence[Details]) -> str:
    """Why a folder cannot be mounted; empty where it can.

    A link below a listed folder would lead out of it. A container that can write a folder can make one there at any
    time, and the engine follows it at its next start: so nothing below a folder that a container writes is mounted.
    """
    folder = allowed_folder(mount.source, policy)
    assert folder is not None, "the policy allowed it"
    listed = _real(root, folder)
    wanted = str(PurePosixPath(listed) / PurePosixPath(mount.source).relative_to(folder))
    path = root / mount.source.lstrip("/")
    if _real(root, mount.source) != wanted:
        return f"{mount.source} leads over a symbolic link below {folder}, which the device's owner lists"
    try:
        kind = path.stat().st_mode
    except OSError as error:
        return f"{mount.source} cannot be mounted: {error.strerror}"
    if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
        return f"{mount.source} is neither a folder nor a file"
    return _overlap(mount, wanted, others)


def _overlap(mount: Mount, path: str, others: Sequence[Details]) -> str:
    for other in others:
        for there in other.mounts or ():
            above = there.writable and path != there.source and _below(path, there.source)
            below = not mount.read_only and path != there.source and _below(there.source, path)
            if there.type == "bind" and (above or below):
                return (
                    f"{mount.source} and {there.source} of {other.name.lstrip('/')} lie in one another, "
                    "and the outer one can be written: mount it read-only, or mount the same folder in both"
                )
    return ""


def _real(root: Path, path: str) -> str:
    return os.path.realpath(root / path.lstrip("/"))


def _below(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def _is_device(path: Path) -> bool:
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(kind) or stat.S_ISBLK(kind)
