"""Objects of one kind for a command that goes on: all of them, and then each change.

A watch that ended, or whose version the server has forgotten, is followed by another list, and only the differences
are reported ("Kubernetes API Concepts", "Efficient detection of changes").
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any, NamedTuple

import msgspec

from fleet.contract.errors import FleetError
from fleet.contract.parsing import NOT_JSON
from fleet.kube.client import KubeClient
from fleet.kube.errors import ServerError, VersionExpiredError, refusal
from fleet.kube.http import KubeConnection
from fleet.kube.kubeconfig import access
from fleet.kube.paths import api_path

_PAUSE = 1.0
"""Seconds between the end of a watch and the next list."""
_LASTS = 300
"""Seconds after which the server ends a watch."""

Json = dict[str, Any]


class Change(NamedTuple):
    """An object, and whether it is gone."""

    object: Json
    deleted: bool = False


class _Event(msgspec.Struct):
    type: str
    object: Json


class Following:
    """The objects of one kind in a namespace, as they were last reported."""

    def __init__(self, kube: KubeClient, kind: str, namespace: str) -> None:
        """Ask nothing yet.

        Raises:
            FleetError: there is no usable kubeconfig.
        """
        self._kube = kube
        self._watch = KubeConnection(access(""))
        self._path = api_path(kind, "", namespace)
        self._known: dict[str, Json] = {}

    def changes(self) -> Iterator[list[Change]]:
        """All objects first, by name, and then what changes, for ever.

        Raises:
            FleetError: the server refuses it, or does not answer for 20 s.
        """
        while True:
            found = self._kube.request("GET", self._path)
            yield self._news(found["items"])
            # The next list says what is wrong, if it still is.
            with contextlib.suppress(OSError, HTTPException, ServerError, VersionExpiredError):
                yield from self._watched(found["metadata"]["resourceVersion"])
            time.sleep(_PAUSE)

    def _news(self, items: list[Json]) -> list[Change]:
        found = {_name(item): item for item in items}
        gone = [Change(item, deleted=True) for name, item in self._known.items() if name not in found]
        news = [Change(item) for name, item in sorted(found.items()) if item != self._known.get(name)]
        self._known = found
        return gone + news

    def _watched(self, version: str) -> Iterator[list[Change]]:
        asked = f"{self._path}?watch=1&resourceVersion={version}&timeoutSeconds={_LASTS}"
        for line in self._watch.lines(asked, _LASTS, _refused):
            try:
                event = msgspec.json.decode(line, type=_Event)
            except NOT_JSON:
                return  # a line that was cut off
            if event.type not in {"ADDED", "MODIFIED", "DELETED"}:
                return
            change = Change(event.object, event.type == "DELETED")
            if change.deleted:
                self._known.pop(_name(event.object), None)
            else:
                self._known[_name(event.object)] = event.object
            yield [change]


def _name(item: Json) -> str:
    return item["metadata"]["name"]


def _refused(status: int, body: bytes) -> FleetError:
    return refusal("watch", status, body, 0)
