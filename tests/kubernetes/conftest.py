from __future__ import annotations

from pathlib import Path

import pytest

from fleet.install.plan import ServerSettings, server_objects, server_plan
from fleet.install.secrets import server_secrets
from fleet.kube.client import KubeClient
from fleet.secrets.file import FileSecretStore
from fleet.topology.capabilities import Endpoint, Json, Service
from fleet.topology.kubernetes.render import render
from fleet.topology.kubernetes.shape import Shape, endpoints
from tests.support.kube import Kube

ADDRESS = Endpoint("nats.example.org", 30422)
SHAPE = Shape(image="fleet:test", nats_image="nats:test", nats_address=ADDRESS, user=65532)
"""What most tests install."""


def services_of(shape: Shape, namespace: str, secrets: Path) -> tuple[Service, ...]:
    """The services of a plan for a place of this shape."""
    places = endpoints(namespace, shape)
    hosts = [places.nats.host, places.nats_public.host, "localhost"]
    settings = ServerSettings(namespace, "https://id.example.org", "", "project-1", "client-1", "v0.1.0")
    made = server_secrets(FileSecretStore(secrets), hosts, [peer.host for peer in places.nats_peers])
    return server_plan(settings, made, places).services


def rendered(shape: Shape, namespace: str, secrets: Path) -> tuple[Json, ...]:
    """The objects of a plan for a place of this shape."""
    return render(services_of(shape, namespace, secrets), shape, namespace)


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of secrets, for plans that are to be equal."""
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kube: Kube) -> None:
    """The current cluster is the test's API server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))


@pytest.fixture
def client() -> KubeClient:
    return KubeClient()


@pytest.fixture
def home(client: KubeClient, kube: Kube) -> str:
    """A namespace as an install makes it, with what comes before the services."""
    name = kube.fresh("fleet")
    client.apply(server_objects(name))
    return name
