from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.cli.conftest import Answer, Fleet, install_words
from tests.doubles.zitadel.idp import Idp
from tests.support.controllers import Controllers
from tests.support.kube import Kube

Install = Callable[..., Answer]
State = Callable[[], dict[str, str]]

OURS = "services,secrets,configmaps,deployments,statefulsets,poddisruptionbudgets,networkpolicies,ingresses"


@pytest.fixture
def controllers(namespace: str) -> Iterator[Controllers]:
    with Controllers(namespace).run() as running:
        yield running


@pytest.fixture
def port(kube: Kube) -> int:
    """Node ports belong to the whole cluster."""
    return 30000 + int(kube.fresh("port").rpartition("-")[2])


@pytest.fixture
def install(fleet: Fleet, idp: Idp, namespace: str, port: int) -> Install:
    del namespace
    return lambda *words: fleet(*install_words(idp), "--nats-address", f"nats.example.org:{port}", *words)


@pytest.fixture
def state(kube: Kube, namespace: str) -> State:
    """Every object of the namespace, and the version it has."""

    def look() -> dict[str, str]:
        found = json.loads(kube.kubectl("-n", namespace, "get", OURS, "-o", "json"))["items"]
        return {
            f"{item['kind']} {item['metadata']['name']}": item["metadata"]["resourceVersion"]
            if item["kind"] not in {"Deployment", "StatefulSet"}
            else str(item["metadata"]["generation"])  # the status is ours as well here
            for item in found
        }

    return look
