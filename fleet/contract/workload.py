"""What a deployment runs on a device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Annotated

import msgspec

from fleet.contract.confinement import (
    Address,
    ContainerHostName,
    HostAddress,
    HostDevice,
    HostName,
    Log,
    Network,
    Platform,
    PullPolicy,
    ResourceLimits,
    Security,
    Stop,
    Ulimit,
    Update,
    User,
)
from fleet.contract.image import ImageReference, check_image
from fleet.contract.limits import Bytes, Id, OneDay
from fleet.contract.mounts import File, Mount, OptionalPath, check_paths
from fleet.contract.sealed import FromSecret, OptionalSecretName
from fleet.contract.selector import LabelKey


class Restart(Enum):
    """When the engine starts a stopped container again (Docker Engine API, `RestartPolicy.Name`)."""

    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"


MAX_ARGUMENTS = 256
Argument = Annotated[str, msgspec.Meta(max_length=32_768, pattern=r"^[^\x00]*\Z")]
"""A word of a command; the kernel ends it at a zero byte (execve(2))."""
Arguments = Annotated[tuple[Argument, ...], msgspec.Meta(max_length=MAX_ARGUMENTS)]
_FIRST_WORD = {"rule": "self.size() == 0 || self[0] != ''", "message": "the first word must not be empty"}
Program = Annotated[
    tuple[Argument, ...],
    msgspec.Meta(max_length=MAX_ARGUMENTS, extra_json_schema={"x-kubernetes-validations": [_FIRST_WORD]}),
]
"""A program and its arguments. `Container` holds the rule of the first word, too."""
EnvName = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*\Z")]
"""As Kubernetes takes them."""
EnvValue = Annotated[str, msgspec.Meta(max_length=32_768, pattern=r"^[^\x00]*\Z")]
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Protocol(Enum):
    """A published port's transport."""

    TCP = "tcp"
    UDP = "udp"


class Port(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A container port published on the device."""

    host: PortNumber
    container: PortNumber
    protocol: Protocol = Protocol.TCP


class Health(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A command run inside the container; exit code 0 is healthy. Times in seconds."""

    command: Annotated[Program, msgspec.Meta(min_length=1)]
    interval: Annotated[float, msgspec.Meta(ge=0.1, le=OneDay)] = 10
    timeout: Annotated[float, msgspec.Meta(ge=0.1, le=OneDay)] = 5
    retries: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    start_period: Annotated[float, msgspec.Meta(ge=0, le=OneDay)] = 0


RESERVED = "io.fleet."
"""How the labels begin by which the agent knows its containers."""
LabelText = Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^[^\x00]*\Z")]
ContainerLabels = Annotated[dict[LabelKey, LabelText], msgspec.Meta(max_length=64)]
LABELS_RULE = {
    "rule": f"self.all(name, !name.startsWith('{RESERVED}'))",
    "message": f"labels that begin with {RESERVED} are the agent's own",
}
NETWORK_RULE = {
    "rule": "!has(self.ports) || self.ports.size() == 0 || !has(self.network) || self.network == 'bridge'",
    "message": "ports are published with the network bridge only: host has every port, none has none",
}
ENV_RULE = {
    "rule": "!has(self.env) || !has(self.secretEnv) || self.secretEnv.all(name, !(name in self.env))",
    "message": "an environment variable is named twice: in env, and in secretEnv",
}


class ContainerFields(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What every container may say, alone or in a pod. A change of any field replaces it."""

    image: ImageReference
    command: Program = ()
    args: Arguments = ()
    env: Annotated[dict[EnvName, EnvValue], msgspec.Meta(max_length=256)] = {}
    ports: Annotated[tuple[Port, ...], msgspec.Meta(max_length=64)] = ()
    restart: Restart = Restart.UNLESS_STOPPED
    health: Health | None = None
    mounts: Annotated[tuple[Mount, ...], msgspec.Meta(max_length=32)] = ()
    files: Annotated[tuple[File, ...], msgspec.Meta(max_length=32)] = ()
    limits: ResourceLimits = ResourceLimits()
    ulimits: Annotated[tuple[Ulimit, ...], msgspec.Meta(max_length=32)] = ()
    shm_size: Bytes = 0
    security: Security = Security()
    devices: Annotated[tuple[HostDevice, ...], msgspec.Meta(max_length=32)] = ()
    user: User = ""
    working_dir: OptionalPath = ""
    hostname: ContainerHostName = ""
    labels: ContainerLabels = {}
    network: Network = Network.BRIDGE
    extra_hosts: Annotated[dict[HostName, HostAddress], msgspec.Meta(max_length=64)] = {}
    dns: Annotated[tuple[Address, ...], msgspec.Meta(max_length=8)] = ()
    stop: Stop = Stop()
    log: Log = Log()
    pull: PullPolicy = PullPolicy.IF_NOT_PRESENT
    platform: Platform = ""
    secret_env: Annotated[dict[EnvName, FromSecret], msgspec.Meta(max_length=64)] = {}
    image_pull_secret: OptionalSecretName = ""

    def __post_init__(self) -> None:
        """Refuse what no engine can do: an impossible image, one port of the device twice, an empty program.

        One path that is mounted twice, one variable with two values, ports without a network of its own, and our own
        labels are refused, too.

        Raises:
            ValueError: one of these, in words.
        """
        check_image(self.image)
        for what, words in (("command", self.command), ("health.command", self.health.command if self.health else ())):
            if words and not words[0]:
                raise ValueError(f"the first word of {what} is empty")
        taken = Counter((port.host, port.protocol.value) for port in self.ports)
        for (number, protocol), times in taken.items():
            if times > 1:
                raise ValueError(f"port {number}/{protocol} of the device is named {times} times")
        check_paths(self.mounts, self.files)
        if self.ports and self.network is not Network.BRIDGE:
            raise ValueError(NETWORK_RULE["message"])
        if any(name.startswith(RESERVED) for name in self.labels):
            raise ValueError(LABELS_RULE["message"])
        if self.env.keys() & self.secret_env.keys():
            raise ValueError(ENV_RULE["message"])

    @property
    def takes_secrets(self) -> bool:
        """Whether it needs a value of a Secret."""
        return bool(self.secret_env or self.image_pull_secret) or any(file.secret for file in self.files)


class Container(ContainerFields, frozen=True, rename="camel", omit_defaults=True, tag="container"):
    """One container."""

    update: Update = Update()

    @property
    def parts(self) -> Mapping[str, ContainerFields]:
        """Its containers by name: one that stands alone has none."""
        return {"": self}


class Container2(
    Container, frozen=True, rename="camel", omit_defaults=True, tag="container2", forbid_unknown_fields=True
):
    """A container as devices are sent it that says more than agents of v0.1 know: they take the tag for what it is.

    They would pass over a field that they do not know, and run the container without it. This one is refused where
    it holds a field that is newer still.
    """

    secrets_digest: Id = ""
    """What a device notes here: a digest, keyed by its sealing key, of the secrets that its container has."""


_FIRST = frozenset({"image", "command", "args", "env", "ports", "restart", "health"})
"""The fields that every agent knows."""


def container_as_sent(workload: Container) -> Container | Container2:
    """The container as devices are sent it."""
    values = {name: getattr(workload, name) for name in Container.__struct_fields__}
    bare = Container(**{name: value for name, value in values.items() if name in _FIRST})
    if values == msgspec.structs.asdict(bare):
        return bare
    return Container2(**values, secrets_digest=workload.secrets_digest if isinstance(workload, Container2) else "")
