"""What the operator tells the web page's process on its standard input, a JSON line each. `Start` comes first."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fleet.contract.config import SecretAge, WebPage


class Start(msgspec.Struct, frozen=True, rename="camel", tag="start"):
    """The first line. `ca` is PEM of NATS' authority, `api_ca` of the API server's; `api_url` is where that listens.

    `secret_ages` are names and times of the server's secrets; a rotation starts the operator, and so the page, anew.
    """

    page: WebPage
    namespace: str
    nats_url: str
    ca: str
    api_url: str
    api_ca: str
    secret_ages: tuple[SecretAge, ...] = ()


HEARTBEAT_INTERVAL = 10.0
"""Seconds between two signs of life."""


class Standing(StrEnum):
    """How a part of the server is, in the words of the page."""

    READY = "is ready"
    UNREADY = "is not ready"
    SILENT = "does not answer"
    UNKNOWN = "is not heard of"

    @property
    def in_past(self) -> str:
        """The same, before the time since when."""
        return {
            Standing.READY: "It has been ready",
            Standing.UNREADY: "It has not been ready",
            Standing.SILENT: "It has not answered",
            Standing.UNKNOWN: "Nothing was heard of it",
        }[self]


class PartState(msgspec.Struct, frozen=True, rename="camel"):
    """How a part of the server is, and `why` it is not ready; `why` is empty if it is."""

    standing: Standing = Standing.READY
    why: str = ""


class OperatorHeartbeat(msgspec.Struct, frozen=True, rename="camel", tag="heartbeat"):
    """A further line, each `HEARTBEAT_INTERVAL` seconds: the operator lives. One that hangs sends none.

    `unready` is what its health endpoint says of it, empty if it is ready; `callout` is what it heard of the callouts.
    """

    unready: str = ""
    callout: PartState = PartState()


class ApiToken(msgspec.Struct, frozen=True, rename="camel", tag="token"):
    """A further line: a bearer token for the API server, a secret. The end of the input ends the process."""

    text: str

    def __repr__(self) -> str:
        return "ApiToken(...)"


class EventMessage(msgspec.Struct, frozen=True, rename="camel", tag="event"):
    """A further line: an Event that Kubernetes took from the operator.

    `event_type` is Normal or Warning; `last` is when it happened for the last of `count` times, in Unix seconds.
    """

    kind: str
    name: str
    event_type: str
    reason: str
    message: str
    last: float
    count: int


class RevisionSummary(msgspec.Struct, frozen=True, rename="camel"):
    """A revision of a deployment, without all that can hold a secret: its program, arguments, environment and files.

    `number` is the generation that brought it, `made` is RFC 3339. `by` and `command` are empty where no command of
    `fleet` made it. `selector` is empty where it selects every device. `changed` are the names of the fields that
    differ from the revision before.
    """

    number: int
    made: str
    by: str
    command: str
    images: str
    selector: str
    strategy: str
    changed: tuple[str, ...]


class RevisionsMessage(msgspec.Struct, frozen=True, rename="camel", tag="revisions"):
    """A further line: the revisions of a deployment that are kept, the newest first; none where it is gone."""

    deployment: str
    revisions: tuple[RevisionSummary, ...]
