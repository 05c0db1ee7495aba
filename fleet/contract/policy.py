"""What a device's owner lets workloads do to the device: no order of a server goes beyond it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Annotated

import msgspec

from fleet.contract.confinement import Capability, Network, SecurityOption
from fleet.contract.mounts import MountType, Path
from fleet.contract.workload import Container

POLICY_PATH = "/etc/fleet/policy.json"
_NEEDS_NO_LEAVE = frozenset({"no-new-privileges"})
_ORDINARY = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
"""The capabilities of every container, unless it drops them (moby, `oci/caps/defaults.go`)."""
DevicePattern = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^/dev/[a-zA-Z0-9_.:/*-]+\Z")]


class DevicePolicy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="policy"):
    """`/etc/fleet/policy.json`. A device without this file allows none of it.

    Attributes:
        folders: Workloads may mount these folders of the device, and what is below them.
        devices: The device nodes that they may have; `*` stands for any part of the last name.
        capabilities: What may be added to the capabilities of an ordinary container.
        security_options: The security options that they may have.
        host_network: Whether they may use the device's own network.
        privileged: Whether they may be root of the device.
    """

    folders: Annotated[tuple[Path, ...], msgspec.Meta(max_length=64)] = ()
    devices: Annotated[tuple[DevicePattern, ...], msgspec.Meta(max_length=64)] = ()
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=64)] = ()
    security_options: Annotated[tuple[SecurityOption, ...], msgspec.Meta(max_length=64)] = ()
    host_network: bool = False
    privileged: bool = False


def objections(workload: Container, policy: DevicePolicy) -> list[str]:
    """What of a workload the policy does not allow, each in words; nothing where it allows all of it."""
    security = workload.security
    return [
        *(["privileged"] if security.privileged and not policy.privileged else []),
        *(["the device's network"] if workload.network is Network.HOST and not policy.host_network else []),
        *(
            f"the capability {name}"
            for name in security.capabilities.add
            if name not in {*_ORDINARY, *policy.capabilities}
        ),
        *(
            f"the security option {option}"
            for option in security.options
            if option not in {*_NEEDS_NO_LEAVE, *policy.security_options}
        ),
        *(
            f"the folder {mount.source}"
            for mount in workload.mounts
            if mount.type is MountType.BIND and allowed_folder(mount.source, policy) is None
        ),
        *(
            f"the device {device.source}"
            for device in workload.devices
            if not any(_fits(device.source, pattern) for pattern in policy.devices)
        ),
    ]


def allowed_folder(source: str, policy: DevicePolicy) -> str | None:
    """The folder of the policy that a path of the device is, or is below of; None where none is."""
    path = PurePosixPath(source)
    return next((folder for folder in policy.folders if path.is_relative_to(folder)), None)


def _fits(device: str, pattern: str) -> bool:
    path, wanted = PurePosixPath(device), PurePosixPath(pattern)
    return path.parent == wanted.parent and fnmatchcase(path.name, wanted.name)
