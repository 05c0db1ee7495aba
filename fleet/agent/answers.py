"""What an engine answers: its shapes, as far as they are read, and its refusals."""

from __future__ import annotations

from typing import TypeVar

import httpx
import msgspec

from fleet.agent.wishes import Problem
from fleet.contract.errors import FleetError, Unreachable
from fleet.contract.wire import Reason

T = TypeVar("T")


class EngineDown(Unreachable):
    """The engine does not answer on its socket."""


class EngineSilent(EngineDown):
    """The engine took a request, and does not answer it in time."""


class EngineRefused(FleetError):  # noqa: N818
    """The engine answered with an error; `problem` is what to report."""

    def __init__(self, doing: str, status: int, message: str) -> None:
        """Keep the HTTP status, and find the reason in the engine's words."""
        super().__init__(f"{doing}: {message}", next_step="see the engine's log on the device")
        self.status = status
        self.problem = Problem(_reason(status, message), self.what)


_INVALID = ("command that was not found", "invalid reference format", "must be lowercase", "normalizing image")


def _reason(status: int, message: str) -> Reason:
    words = message.lower()
    if "port is already allocated" in words or "address already in use" in words:
        return Reason.PORT_IN_USE
    if "no such image" in words:
        return Reason.IMAGE_NOT_FOUND
    # podman answers 500 where docker answers 400.
    if status == 400 or any(sign in words for sign in _INVALID):
        return Reason.INVALID_DESIRED_STATE
    return Reason.ENGINE_ERROR


class _Probe(msgspec.Struct, frozen=True, rename="pascal"):
    output: str = ""


class HealthState(msgspec.Struct, frozen=True, rename="pascal"):
    """The outcome of a container's health checks."""

    status: str = ""
    log: list[_Probe] | None = None


class State(msgspec.Struct, frozen=True, rename="pascal"):
    """A container's state."""

    status: str
    exit_code: int = 0
    error: str = ""
    started_at: str = ""
    out_of_memory: bool = msgspec.field(default=False, name="OOMKilled")
    health: HealthState | None = None


class _Config(msgspec.Struct, frozen=True, rename="pascal"):
    labels: dict[str, str] | None = None


class Details(msgspec.Struct, frozen=True, rename="pascal"):
    """A container as `inspect` shows it."""

    id: str
    state: State
    name: str = ""
    restart_count: int = 0
    config: _Config = _Config()
    unclear: str = ""
    """Why the engine does not show the container; the rest is then from its list."""

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, none being an empty mapping."""
        return self.config.labels or {}


class Listed(msgspec.Struct, frozen=True, rename="pascal"):
    """A container as the list shows it, which is all there is of one that cannot be inspected."""

    id: str
    names: list[str] | None = None
    labels: dict[str, str] | None = None
    state: str = ""


class Created(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer to a creation."""

    id: str


class _Component(msgspec.Struct, frozen=True, rename="pascal"):
    name: str


class Version(msgspec.Struct, frozen=True, rename="pascal"):
    """What the engine says that it is."""

    version: str
    components: list[_Component] | None = None


class Info(msgspec.Struct, frozen=True, rename="pascal"):
    """What the engine says of itself; podman leaves the driver empty."""

    logging_driver: str


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    error: str = ""


class Progress(msgspec.Struct, frozen=True):
    """A line of a pull."""

    error: str = ""


def parse(answer: httpx.Response, kind: type[T]) -> T:
    """The answer's content; raises `EngineRefused` when it has another shape."""
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise EngineRefused("read the engine's answer", answer.status_code, str(error)) from error


def is_gone(status: int, message: str) -> bool:
    """Whether a refusal says that the container, or image, is not there; podman says it with a 500, too."""
    return status == 404 or (status == 500 and "no such container" in message.lower())


def from_list(listed: Listed, why: str) -> Details:
    """A container that cannot be inspected, as the list shows it."""
    name = listed.names[0] if listed.names else ""
    state = State(listed.state.lower(), error=why)
    return Details(listed.id, state, name, config=_Config(listed.labels), unclear=why)


def refused(doing: str, answer: httpx.Response) -> EngineRefused:
    """The refusal that an answer is, in the engine's words where it has any."""
    try:
        told = msgspec.json.decode(answer.content, type=_Error)
    except msgspec.DecodeError:
        told = _Error()
    return EngineRefused(doing, answer.status_code, told.message or told.error or f"HTTP {answer.status_code}")
