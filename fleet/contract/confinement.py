"""What a container may use of its device, and what it may do there."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from fleet.contract.limits import MAX_GRACE
from fleet.contract.mounts import OptionalPath, Path

SMALLEST_MEMORY = 6 * 2**20
"""Bytes; engines take no lower limit (moby, `linuxMinMemory`)."""
MOST_MEMORY = 2**46
_CAPABILITIES = (
    "ALL|AUDIT_CONTROL|AUDIT_READ|AUDIT_WRITE|BLOCK_SUSPEND|BPF|CHECKPOINT_RESTORE|CHOWN|DAC_OVERRIDE|DAC_READ_SEARCH|"
    "FOWNER|FSETID|IPC_LOCK|IPC_OWNER|KILL|LEASE|LINUX_IMMUTABLE|MAC_ADMIN|MAC_OVERRIDE|MKNOD|NET_ADMIN|"
    "NET_BIND_SERVICE|NET_BROADCAST|NET_RAW|PERFMON|SETFCAP|SETGID|SETPCAP|SETUID|SYSLOG|SYS_ADMIN|SYS_BOOT|SYS_CHROOT|"
    "SYS_MODULE|SYS_NICE|SYS_PACCT|SYS_PTRACE|SYS_RAWIO|SYS_RESOURCE|SYS_TIME|SYS_TTY_CONFIG|WAKE_ALARM"
)
Capability = Annotated[str, msgspec.Meta(max_length=32, pattern=rf"^({_CAPABILITIES})\Z")]
"""As capabilities(7) has it, without `CAP_`; `ALL` for all of them."""
CAPABILITIES = _CAPABILITIES.replace("|", ", ")
"""What may stand there, in words."""
_WORD = "[a-zA-Z0-9_./:-]{1,128}"
SecurityOption = Annotated[
    str,
    msgspec.Meta(
        max_length=256,
        pattern=rf"^(no-new-privileges|seccomp=unconfined|apparmor={_WORD}|label={_WORD})\Z",
    ),
]
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ADDRESS = rf"{_BYTE}(\.{_BYTE}){{3}}|[0-9a-fA-F]{{0,4}}:[0-9a-fA-F:.]{{1,40}}"
Address = Annotated[str, msgspec.Meta(max_length=45, pattern=rf"^({_ADDRESS})\Z")]
"""An IPv4 or IPv6 address; the engine refuses what only looks like one."""
HostAddress = Annotated[str, msgspec.Meta(max_length=45, pattern=rf"^({_ADDRESS}|host-gateway)\Z")]
"""An address, or the engine's own word for the device."""
_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
HostName = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*\Z")]
ContainerHostName = Annotated[str, msgspec.Meta(max_length=63, pattern=rf"^({_LABEL})?\Z")]
_USER = "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,31}"
User = Annotated[str, msgspec.Meta(max_length=65, pattern=rf"^({_USER}(:{_USER})?)?\Z")]
"""A name or a number of the image, and a group after a colon."""
_NAMED = (
    "ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP|"
    "TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ"
)
"""The signals of Linux, as engines know them (moby, `signal_linux.go`)."""
_REAL_TIME = r"RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?"
Signal = Annotated[str, msgspec.Meta(max_length=16, pattern=rf"^(SIG({_NAMED}|{_REAL_TIME}))?\Z")]
SIGNALS = f"{', '.join(f'SIG{name}' for name in _NAMED.split('|'))}, SIGRTMIN to SIGRTMIN+15, SIGRTMAX-14 to SIGRTMAX"
"""What may stand there, in words."""
Platform = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^([a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?)?\Z")]


class Network(Enum):
    """What a container sees of the network."""

    BRIDGE = "bridge"
    HOST = "host"
    NONE = "none"


class PullPolicy(Enum):
    """When the image is fetched (Kubernetes, `imagePullPolicy`)."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


class ResourceLimits(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The most that a container gets; 0 is no limit. `memory` in bytes, `cpus` in cores, `pids` in processes."""

    memory: Annotated[int, msgspec.Meta(ge=0, le=MOST_MEMORY)] = 0
    cpus: Annotated[float, msgspec.Meta(ge=0, le=1024)] = 0
    pids: Annotated[int, msgspec.Meta(ge=0, le=4_194_304)] = 0

    def __post_init__(self) -> None:
        """Refuse a limit of memory that no engine takes.

        Raises:
            ValueError: it is too low.
        """
        if 0 < self.memory < SMALLEST_MEMORY:
            raise ValueError(MEMORY_RULE["message"])


MEMORY_RULE = {
    "rule": f"!has(self.memory) || self.memory == 0 || self.memory >= {SMALLEST_MEMORY}",
    "message": f"a limit of memory is at least {SMALLEST_MEMORY} bytes",
}


_ULIMITS = "as|core|cpu|data|fsize|locks|memlock|msgqueue|nice|nofile|nproc|rss|rtprio|rttime|sigpending|stack"
UlimitName = Annotated[str, msgspec.Meta(max_length=16, pattern=rf"^({_ULIMITS})\Z")]
ULIMITS = _ULIMITS.replace("|", ", ")
"""What may stand there, in words."""
ULIMIT_RULE = {
    "rule": "self.hard == -1 || (self.soft != -1 && self.soft <= self.hard)",
    "message": "a soft limit is at most the hard one; -1 is none",
}


class Ulimit(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A limit of each process (setrlimit(2)); -1 is none. The soft one is what counts until a process raises it."""

    name: UlimitName
    soft: Annotated[int, msgspec.Meta(ge=-1, le=2**53 - 1)]
    hard: Annotated[int, msgspec.Meta(ge=-1, le=2**53 - 1)]

    def __post_init__(self) -> None:
        """Refuse what the kernel does, once the container before has ended.

        Raises:
            ValueError: the soft limit is above the hard one.
        """
        if self.hard != -1 and (self.soft == -1 or self.soft > self.hard):
            raise ValueError(ULIMIT_RULE["message"])


class Capabilities(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What is added to the engine's own set of capabilities, and taken from it."""

    add: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=64)] = ()
    drop: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=64)] = ()


Permissions = Annotated[str, msgspec.Meta(max_length=3, pattern=r"^r?w?m?\Z")]


class HostDevice(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A device node. Without a `path` it has its own inside; `permissions` are r, w and m (mknod)."""

    source: Path
    path: OptionalPath = ""
    permissions: Permissions = "rw"


class Stop(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """How a container is ended: a signal, the image's own if none is named, and SIGKILL `grace` seconds later."""

    signal: Signal = ""
    grace: Annotated[int, msgspec.Meta(ge=0, le=MAX_GRACE)] = 10


class UpdateOrder(Enum):
    """Which of two containers gives way: the one before ends first, or once the new one is well."""

    RECREATE = "Recreate"
    START_FIRST = "StartFirst"


class Update(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """How a container takes the place of the one before. `deadline` in seconds, 0 for none.

    A container is well when its health check passes; without one, when it has run for ten seconds.
    """

    order: UpdateOrder = UpdateOrder.RECREATE
    deadline: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0


class Log(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """How much of a container's output the device keeps: the newest `files` files of `size` bytes."""

    size: Annotated[int, msgspec.Meta(ge=64 * 1024, le=2**30)] = 10_000_000
    files: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3


class Security(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What the processes of a container may do."""

    read_only_root: bool = False
    privileged: bool = False
    capabilities: Capabilities = Capabilities()
    options: Annotated[tuple[SecurityOption, ...], msgspec.Meta(max_length=16)] = ()
