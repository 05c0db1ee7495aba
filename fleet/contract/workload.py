"""What a deployment runs on a device."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Annotated

import msgspec

from fleet.contract.image import ImageReference, check_image
from fleet.contract.limits import OneDay


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


class Container(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="container"):
    """One container. Two equal values need no replacement, a change of any field does."""

    image: ImageReference
    command: Program = ()
    args: Arguments = ()
    env: Annotated[dict[EnvName, EnvValue], msgspec.Meta(max_length=256)] = {}
    ports: Annotated[tuple[Port, ...], msgspec.Meta(max_length=64)] = ()
    restart: Restart = Restart.UNLESS_STOPPED
    health: Health | None = None

    def __post_init__(self) -> None:
        """Refuse what no engine can do: an impossible image, one port of the device twice, an empty program.

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


Workload = Container
"""What a deployment runs. A second kind becomes a union; agents report an unknown tag as `UnsupportedWorkload`."""
