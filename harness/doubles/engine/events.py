"""The event stream: one JSON line per change of a container, filtered as the listener asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from harness.doubles.engine.manners import Manners
from harness.doubles.engine.records import Record


def label_fits(labels: Mapping[str, str], label: str) -> bool:
    """Whether labels satisfy `key` or `key=value`."""
    key, equals, value = label.partition("=")
    return key in labels and (not equals or labels[key] == value)


class Filter:
    """The filter of a listener: values of one name are alternatives, all labels must match."""

    def __init__(self, filters: Mapping[str, Sequence[str]]) -> None:
        """Take the decoded `filters` parameter."""
        self._types = filters.get("type", ())
        self._events = filters.get("event", ())
        self._labels = filters.get("label", ())

    def fits(self, action: str, record: Record) -> bool:
        """Whether the listener wants this. `health_status: healthy` is the event `health_status`."""
        return (
            (not self._types or "container" in self._types)
            and (not self._events or action in self._events or action.partition(":")[0] in self._events)
            and all(label_fits(record.labels, label) for label in self._labels)
        )


class Events:
    """Everybody who listens."""

    def __init__(self, manners: Manners) -> None:
        """Begin without listeners."""
        self._manners = manners
        self._listeners: dict[asyncio.Queue[bytes], Filter] = {}

    def emit(self, action: str, record: Record, **attributes: str) -> None:
        """Tell all who want to hear it."""
        action = self._manners.event(action)
        seen = time.time_ns()
        line = msgspec.json.encode(
            {
                "status": action,
                "id": record.id,
                "from": record.config.image,
                "Type": "container",
                "Action": action,
                "Actor": {
                    "ID": record.id,
                    "Attributes": {**record.labels, "image": record.config.image, "name": record.name, **attributes},
                },
                "scope": "local",
                "time": seen // 10**9,
                "timeNano": seen,
            }
        )
        for queue, filters in self._listeners.items():
            if filters.fits(action, record):
                queue.put_nowait(line + b"\n")

    def listen(self, filters: Filter) -> AsyncIterator[bytes]:
        """The lines from now on; registered before it returns, so that nothing is missed."""
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._listeners[queue] = filters

        async def lines() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield await queue.get()
            finally:
                del self._listeners[queue]

        return lines()
