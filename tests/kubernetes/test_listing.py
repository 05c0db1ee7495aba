"""Lists of thousands of objects: page by page, and the server works on the next page while one is looked at."""

from __future__ import annotations

import threading

import msgspec
import pytest

from fleet.kube import client as module
from fleet.kube.client import KubeClient
from fleet.kube.http import Answer
from tests.support.kube import Kube


def test_a_list_of_several_pages_is_complete_and_in_order(
    client: KubeClient, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    namespace = kube.namespace()
    names = [f"map-{number}" for number in range(7)]
    for name in names:
        meta = {"name": name, "namespace": namespace}
        client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    found = [msgspec.json.decode(item)["metadata"]["name"] for item in client.list_raw("ConfigMap", namespace)]
    assert [name for name in found if name in names] == names


def test_the_next_page_is_asked_for_while_one_is_looked_at(client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    last = b'{"items": [{"number": 2}], "metadata": {}}'

    def answer(_method: str, path: str, *_: object) -> Answer:
        if path.endswith("continue="):
            return Answer(200, b'{"items": [{"number": 1}], "metadata": {"continue": "more"}}')
        asked.set()
        return Answer(200, last)

    monkeypatch.setattr(client, "_retried", answer)
    items = client.list_raw("ConfigMap", "home")
    assert next(items) == b'{"number": 1}'
    assert asked.wait(20), "nobody asked for the second page yet"
    assert list(items) == [b'{"number": 2}']
