"""What an engine answers: its shapes, as far as they are read, and its refusals."""

from __future__ import annotations

import re
from typing import TypeVar

import httpx
import msgspec

from fleet.agent.problems import Problem
from fleet.contract.errors import FleetError, Unreachable
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
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
    if "no space left on device" in words:
        return Reason.DISK_FULL
    if "exec format error" in words or "does not match the specified platform" in words:
        return Reason.WRONG_PLATFORM
    if "port is already allocated" in words or "address already in use" in words:
        return Reason.PORT_IN_USE
    if "no such image" in words:
        return Reason.IMAGE_NOT_FOUND
    # podman answers 500 where docker answers 400.
    if status == 400 or any(sign in words for sign in _INVALID):
        return Reason.INVALID_DESIRED_STATE
    return Reason.ENGINE_ERROR


_PULLS: tuple[tuple[Reason, tuple[str, ...]], ...] = (
    (Reason.DISK_FULL, ("no space left on device",)),
    (Reason.REGISTRY_BUSY, ("toomanyrequests", "too many requests")),
    (Reason.IMAGE_NOT_FOUND, ("no such host", "dial tcp: lookup")),
    # A certificate that the device does not trust is signed by an "authority", which is no login.
    (Reason.REGISTRY_UNAVAILABLE, ("x509: ", "tls: ", "connection refused", "connection reset")),
    (Reason.WRONG_PLATFORM, ("no matching manifest for", "no image found in manifest list for")),
    (Reason.REGISTRY_REFUSED, ("denied: ", "unauthorized: ")),
    # docker says of every image that Docker Hub does not have that it may be a secret one.
    (Reason.IMAGE_NOT_FOUND, ("manifest unknown", "repository does not exist", "name unknown")),
    (Reason.REGISTRY_REFUSED, ("unauthorized", "denied", "auth", "forbidden", "username/password")),
    (Reason.IMAGE_NOT_FOUND, ("not found",)),
    (
        Reason.REGISTRY_UNAVAILABLE,
        (
            "http status: 5",
            "server error",
            "service unavailable",
            "bad gateway",
            "gateway timeout",
            "timeout",
            "eof",
            "verification failed",
            "does not match",
            "did not match",
            "byte range",
            "says nothing",
        ),
    ),
)
"""What stands in an engine's words about a pull that failed; the first that fits counts."""


_UNNAMED = re.compile(r"https?://\S+|\S+/\S+")
"""An address or a path, which may hold any word."""


def pull_reason(image: str, message: str) -> Reason:
    """Why an image could not be fetched, from the engine's words about anything but its name."""
    words = _UNNAMED.sub(" ", message.lower().replace(image.lower(), " "))
    return next((reason for reason, signs in _PULLS if any(sign in words for sign in signs)), Reason.IMAGE_NOT_FOUND)


class PullFailed(EngineRefused):
    """An image could not be fetched."""

    def __init__(self, image: str, message: str) -> None:
        """Find the reason in the engine's words."""
        super().__init__(f"pull {image}", 404, message)
        self.problem = Problem(pull_reason(image, message), self.what)


class _Probe(msgspec.Struct, frozen=True, rename="pascal"):
    output: str = ""


class Past(msgspec.Struct, frozen=True):
    """How far back to read a log: from a Unix time of the engine's clock on, and so many lines before its end."""

    since: float
    tail: int


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


class _RestartPolicy(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""


class _HostConfig(msgspec.Struct, frozen=True, rename="pascal"):
    restart_policy: _RestartPolicy | None = None


class _Config(msgspec.Struct, frozen=True, rename="pascal"):
    labels: dict[str, str] | None = None
    stop_timeout: int | None = None


class Mounted(msgspec.Struct, frozen=True, rename="pascal"):
    """What is mounted into a container; a volume has a name."""

    type: str = ""
    source: str = ""
    writable: bool = msgspec.field(default=True, name="RW")
    name: str = ""


class Details(msgspec.Struct, frozen=True, rename="pascal"):
    """A container as `inspect` shows it."""

    id: str
    state: State
    name: str = ""
    image: str = ""
    restart_count: int = 0
    config: _Config = _Config()
    host_config: _HostConfig = _HostConfig()
    mounts: list[Mounted] | None = None
    unclear: str = ""
    """Why the engine does not show the container; the rest is then from its list."""

    @property
    def grace(self) -> int:
        """Seconds between its stop signal and SIGKILL; the engines' own default where it says none."""
        return 10 if self.config.stop_timeout is None else self.config.stop_timeout

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


class ImageDetails(msgspec.Struct, frozen=True, rename="pascal"):
    """An image as `inspect` shows it; a repo digest is a repository, `@` and a digest."""

    repo_digests: list[str] | None = None
    os: str = ""
    architecture: str = ""


class Created(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer to a creation."""

    id: str


class _Component(msgspec.Struct, frozen=True, rename="pascal"):
    name: str


class Version(msgspec.Struct, frozen=True, rename="pascal"):
    """What the engine says that it is."""

    version: str
    components: list[_Component] | None = None
    arch: str = ""


class Info(msgspec.Struct, frozen=True, rename="pascal"):
    """What the engine says of itself; podman leaves the driver empty."""

    logging_driver: str
    docker_root_dir: str = ""


class _Written(msgspec.Struct, frozen=True, rename="pascal"):
    size_rw: int = 0


class _Size(msgspec.Struct, frozen=True, rename="pascal"):
    size: int = 0


class _Kept(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    usage_data: _Size | None = None


class Usage(msgspec.Struct, frozen=True, rename="pascal"):
    """What the engine says that uses its disk. podman says nothing of layers, which images share."""

    layers_size: int = 0
    images: list[_Size] | None = None
    containers: list[_Written] | None = None
    volumes: list[_Kept] | None = None

    @property
    def images_size(self) -> int:
        """Bytes of all images; where the engine does not tell of layers, shared ones count for each."""
        return self.layers_size or sum(image.size for image in self.images or ())


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    error: str = ""


class _Detail(msgspec.Struct, frozen=True):
    current: int = 0
    total: int = 0


class Progress(msgspec.Struct, frozen=True):
    """A line of a pull: an error, or how many bytes of a layer are there (Docker Engine API, `CreateImageInfo`)."""

    error: str = ""
    id: str = ""
    status: str = ""
    detail: _Detail = msgspec.field(default_factory=_Detail, name="progressDetail")

    @classmethod
    def read(cls, line: str) -> Progress:
        """Take a line; one that cannot be parsed is ignored."""
        try:
            return msgspec.json.decode(line, type=cls)
        except NOT_JSON:
            return cls()


def parse(answer: httpx.Response, kind: type[T]) -> T:
    """The answer's content; raises `EngineRefused` when it has another shape."""
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except NOT_JSON as error:
        raise EngineRefused("read the engine's answer", answer.status_code, validation_words(error)) from error


def is_gone(status: int, message: str) -> bool:
    """Whether a refusal says that the container, or image, is not there; podman says it with a 500, too."""
    return status == 404 or (status == 500 and "no such container" in message.lower())


def has_just_ended(status: int, message: str) -> bool:
    """Whether podman gave up a look, at all containers even, since a process ended while it looked."""
    return status == 500 and "no such process" in message.lower()


def from_list(listed: Listed, why: str) -> Details:
    """A container that cannot be inspected, as the list shows it."""
    name = listed.names[0] if listed.names else ""
    state = State(listed.state.lower(), error=why)
    return Details(listed.id, state, name, config=_Config(listed.labels), unclear=why)


def refused(doing: str, answer: httpx.Response) -> EngineRefused:
    """The refusal that an answer is, in the engine's words where it has any."""
    return EngineRefused(doing, answer.status_code, error_message(answer))


def error_message(answer: httpx.Response) -> str:
    """What an answer that refuses says."""
    try:
        error = msgspec.json.decode(answer.content, type=_Error)
    except NOT_JSON:
        error = _Error()
    return error.message or error.error or f"HTTP {answer.status_code}"
