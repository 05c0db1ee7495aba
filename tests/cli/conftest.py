from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.cli.main import main
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, render_config
from fleet.contract.names import DeviceId
from fleet.contract.objects import FINALIZER
from fleet.kube.client import KubeClient, wait_for
from fleet.secrets.file import FileSecretStore
from fleet.topology.capabilities import Applied, Endpoint, Endpoints, PlaceRequest, Service, ServiceStatus
from harness.probes.kube import KubeProbe
from tests.doubles.zitadel.idp import Idp, double_at, healthy
from tests.support.kube import Kube

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - that it is JSON is what is tested
        return msgspec.json.decode(self.out)


Fleet = Callable[..., Answer]
PAT = ("--admin-token-file", "admin.pat")
_NOW = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that knows no cluster, no login and no identity provider."""
    for name in ("FLEET_NAMESPACE", "FLEET_ADMIN_TOKEN_FILE", "FLEET_ADMIN_OIDC_CLIENT_ID", "FLEET_TOPOLOGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("FLEET_DEBUG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/.config"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fleet:
    """Type a command: `fleet("device", "list")`."""

    def run(*words: str) -> Answer:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["fleet", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, out, err)

    return run


@pytest.fixture
def agent_config(tmp_path: Path) -> Path:
    """A configuration such as `fleet device enroll` writes."""
    key = MachineKey("1", "2", "a private key")
    auth = FleetDeviceAuth("https://id.example.org", "3", key, "a certificate")
    path = tmp_path / "pi-1.json"
    path.touch(0o600)
    path.write_bytes(render_config(AgentConfig(DeviceId("pi-1"), "tls://nats.example.org:4222", auth)))
    return path


@dataclass
class Place:
    """A real API server, real secrets, and services that only say that they run."""

    kube: KubeClient
    secrets: FileSecretStore
    running: dict[str, Service] = field(default_factory=dict[str, Service])
    unready: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.apply, self.find = self.kube.apply, self.kube.find

    def delete(self, objects: Sequence[Json]) -> list[Applied]:
        done = self.kube.delete(objects)
        for item in objects:
            kind, name, namespace = item["kind"], item["metadata"]["name"], item["metadata"].get("namespace", "")
            wait_for(
                lambda kind=kind, name=name, namespace=namespace: self.find(kind, name, namespace) is None or None,
                f"{kind} {name} to go",
                20,
            )
        return done

    def endpoints(self, namespace: str) -> Endpoints:
        del namespace
        nats = Endpoint("nats.example.org", 4222)
        return Endpoints("127.0.0.1", nats, nats, 1, 2, 3)

    def run(self, services: Sequence[Service]) -> list[Applied]:
        done = [Applied(f"Service {item.name}", self.running.get(item.name) != item) for item in services]
        self.running |= {item.name: item for item in services}
        return done

    def renew(self, services: Sequence[Service]) -> list[Applied]:
        return self.run(services)

    @property
    def remembered(self) -> str:
        return ""

    def services(self) -> list[ServiceStatus]:
        return [ServiceStatus(name, name not in self.unready, self.unready.get(name, "")) for name in self.running]

    def stop(self, names: Sequence[str], *, delete_data: bool) -> list[Applied]:
        del delete_data
        return [Applied(f"Service {name}", self.running.pop(name, None) is not None) for name in names]


@pytest.fixture
def namespace(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where this test's server is or will be; the shell knows it and the cluster."""
    name = kube.fresh("fleet")
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    monkeypatch.setenv("FLEET_NAMESPACE", name)
    return name


@pytest.fixture
def place(namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where `fleet server install` installs."""
    del namespace
    made = Place(KubeClient(), FileSecretStore(tmp_path / "secrets"))
    install_on(made, monkeypatch)
    return made


def install_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands find `place`, whatever they ask for."""

    def found(request: PlaceRequest) -> Place:
        del request
        return place

    for module in ("server", "uninstall", "found", "doctor"):
        monkeypatch.setattr(f"fleet.cli.{module}.place", found)


@pytest.fixture(scope="session")
def _one_double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    with double_at(tmp_path_factory.mktemp("zitadel")) as idp:
        yield idp


@pytest.fixture
def idp(_one_double: Idp, tmp_path: Path) -> Iterator[Idp]:
    """The Zitadel double, healthy; `ca.pem` and `admin.pat` lie in the folder in which commands are typed."""
    healthy(_one_double)
    (tmp_path / "ca.pem").write_text(_one_double.ca)
    (tmp_path / "admin.pat").touch(0o600)
    (tmp_path / "admin.pat").write_text(_one_double.admin_token)
    yield _one_double
    healthy(_one_double)


@pytest.fixture
def installed(fleet: Fleet, idp: Idp, place: Place) -> Place:
    """A server, installed by the command."""
    assert fleet(*install_words(idp)).code == 0
    return place


def install_words(idp: Idp) -> list[str]:
    return ["server", "install", "--issuer", idp.issuer, "--issuer-ca", "ca.pem", "--admin-token-file", "admin.pat"]


def server_id() -> str:
    """The id of the server that `installed` installed."""
    return Path("secrets/server_id").read_text()


@pytest.fixture
def probe(kube: Kube, namespace: str) -> Iterator[KubeProbe]:
    """An admin's look at the cluster, not through the product."""
    look = kube.probe(namespace)
    yield look
    look.close()


@dataclass
class Background:
    """A command that runs while the test plays another part; `answer` waits for its end."""

    thread: threading.Thread
    answers: list[Answer]

    def answer(self) -> Answer:
        self.thread.join(30)
        assert self.answers, "the command did not end within 30 s"
        return self.answers[0]


@pytest.fixture
def start(fleet: Fleet) -> Callable[..., Background]:
    """Type a command, and go on without waiting for it."""

    def run(*words: str) -> Background:
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(fleet(*words)), daemon=True)
        thread.start()
        return Background(thread, answers)

    return run


@pytest.fixture
def device(installed: Place, fleet: Fleet, kube: Kube, namespace: str) -> Callable[[str], None]:
    """Enroll a device; its finalizer is the operator's."""
    del installed

    def make(name: str) -> None:
        assert fleet("device", "enroll", "--device-id", name, "--out", f"{name}.json", *PAT).code == 0
        patch = json.dumps({"metadata": {"finalizers": [FINALIZER]}})
        kube.kubectl("-n", namespace, "patch", "device", name, "--type=merge", "-p", patch)

    return make


@pytest.fixture
def says(kube: Kube, namespace: str, probe: KubeProbe) -> Callable[..., None]:
    """The operator writes a condition, `ahead` generations after the one that it sees."""

    def write(name: str, kind: str, status: str, reason: str, ahead: int = 0) -> None:
        seen = _generation(probe, name) + ahead
        condition = {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": _NOW}
        condition = {**condition, "observedGeneration": seen}
        patch = json.dumps({"status": {"conditions": [condition]}})
        kube.kubectl("-n", namespace, "patch", "device", name, "--subresource=status", "--type=merge", "-p", patch)

    return write


def _generation(probe: KubeProbe, name: str) -> int:
    found = probe.device(name)
    assert found is not None
    return found.metadata.generation
