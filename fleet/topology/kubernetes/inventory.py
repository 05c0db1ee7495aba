"""What an install has made in a namespace: a list kept there, so that what is no longer wanted can be removed.

It is written before anything else is, with what is to come beside what is: a crash leaves nothing that is not listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from fleet.contract.announcement import text_of
from fleet.contract.errors import InvalidInput
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import INVENTORY, component_of, meta

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient


class Entry(msgspec.Struct, frozen=True, order=True):
    """One object, and the service that it serves."""

    component: str
    kind: str
    name: str


def entry(item: Json) -> Entry:
    """The entry of an object of ours."""
    return Entry(component_of(item), item["kind"], item["metadata"]["name"])


class Inventory:
    """The list of one namespace."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace

    def read(self) -> frozenset[Entry]:
        """What was made; nothing where there is no list.

        Raises:
            InvalidInput: somebody has changed it.
        """
        found = self._kube.find("ConfigMap", INVENTORY, self._namespace)
        if found is None:
            return frozenset()
        try:
            return frozenset(msgspec.json.decode(text_of(found, "objects"), type=list[Entry]))
        except NOT_JSON as error:
            why = validation_words(error)
            raise InvalidInput(
                f"somebody has changed the ConfigMap {INVENTORY}, which lists what an install has made: {why}",
                next_step="restore it, or delete it and repeat this: then objects that no install makes any more stay",
            ) from error

    def write(self, entries: Iterable[Entry]) -> None:
        """Keep the list; an equal one stays untouched."""
        self._kube.apply([self._object(sorted(entries))])

    def remove(self) -> None:
        """Forget it: nothing of it is left."""
        self._kube.delete([self._object([])])

    def _object(self, entries: list[Entry]) -> Json:
        data = {"objects": msgspec.json.encode(entries).decode()}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(INVENTORY, self._namespace), "data": data}
