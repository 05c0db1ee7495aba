"""In what docker and podman differ behind one API: names of images, states, events, and the shape of a refusal."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.doubles.engine.errors import Refused
from harness.doubles.engine.records import Record

_EVENTS = {"die": "died", "destroy": "remove"}
"""podman's words (podman-events(1))."""


class Manners(msgspec.Struct, frozen=True):
    """One engine's ways.

    Attributes:
        engine: What `/version` calls it.
        logging_driver: What `/info` says; podman says nothing.
        between: The state of a container between its end and its next start.
        pauses: Whether the policy waits before it starts a container again.
        tells_failed_start: Whether a container that could not be started shows exit code and error.
        env: What every container's environment holds.
    """

    engine: str
    logging_driver: str
    between: str
    pauses: bool
    tells_failed_start: bool
    env: dict[str, str] = {}

    @property
    def is_podman(self) -> bool:
        """Whether these are podman's."""
        return self is PODMAN

    def image(self, name: str) -> str:
        """How an image's name is shown: podman puts where it is from before a short one."""
        place, slash, _ = name.partition("/")
        has_place = slash and ("." in place or ":" in place or place == "localhost")
        return f"localhost/{name}" if self.is_podman and not has_place and not name.startswith("sha256:") else name

    def own_name(self, shown: str) -> str:
        """The reverse of `image`, for what somebody asks by the name that was shown."""
        return shown.removeprefix("localhost/") if self.is_podman else shown

    def event(self, action: str) -> str:
        """What a change is called."""
        return _EVENTS.get(action, action) if self.is_podman else action

    def refusal(self, refused: Refused) -> tuple[int, dict[str, object]]:
        """Status and body of a refusal."""
        if not self.is_podman:
            return refused.status, {"message": refused.message}
        status, message = refused.podman
        return status, {"cause": message.rpartition(": ")[2], "message": message, "response": status}

    def details(self, record: Record) -> dict[str, Any]:
        """The body of an inspection."""
        shown: dict[str, Any] = {**msgspec.to_builtins(record), "Name": f"/{record.name}"}
        if self.is_podman:
            shown["Config"]["Image"] = self.image(record.config.image)
            shown["State"]["Health"] = shown["State"]["Health"] or {"Status": "", "FailingStreak": 0, "Log": None}
            shown["HostConfig"]["LogConfig"] = {"Type": "json-file", "Config": None}
        return shown

    def listed(self, record: Record) -> dict[str, object]:
        """One line of the list."""
        return {
            "Id": record.id,
            "Names": [f"/{record.name}"],
            "Image": self.image(record.config.image),
            "ImageID": record.image,
            "Labels": record.labels,
            "State": record.state.status,
            "Status": record.state.status,
        }


DOCKER = Manners("Engine double", "json-file", between="restarting", pauses=True, tells_failed_start=True)
PODMAN = Manners(
    "Podman Engine double",
    "",
    between="stopped",
    pauses=False,
    tells_failed_start=False,
    env={"container": "podman", "TERM": "xterm", "HOME": "/"},
)
BY_NAME = {"docker": DOCKER, "podman": PODMAN}


def own_log(record: Record) -> dict[str, object]:
    """podman's own API on a container's log: where the docker-like one shows a constant."""
    log = record.host_config.log_config
    size = int((log.config or {}).get("max-size", "0"))
    return {"HostConfig": {"LogConfig": {"Type": log.type, "Size": f"{size / 1e6:.4g}MB"}}}
