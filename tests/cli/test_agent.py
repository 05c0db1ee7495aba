"""`fleet agent`: a key, a build, a publication on the real nats-server, and what may be taken away."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from fleet.artifacts.needed import needed_versions
from fleet.cli import publisher
from fleet.contract.buckets import APP_USER
from fleet.contract.errors import Conflict
from fleet.contract.names import AgentVersion
from fleet.contract.objects import Device, DeviceSpec, DeviceStatus, Metadata, ServerInfo
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import DeviceInfo
from fleet.install.secrets import PUBLISHER_PASSWORD
from fleet.nats.bus import connect
from fleet.secrets.file import FileSecretStore
from tests.cli.conftest import Fleet
from tests.support.agents import HERE, TARGET
from tests.support.nats import PASSWORDS, Nats

NATIVE = ("--architecture", HERE.architecture, "--python", TARGET.pythons[0])


class Place:
    """Where the server was installed, as far as the publisher asks."""

    def __init__(self, folder: Path) -> None:
        self.secrets = FileSecretStore(folder)


@pytest.fixture
def server(nats: Nats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An installed server, and a cluster that says so."""

    async def make() -> None:
        operator = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        await operator.ensure_blobs()
        await operator.blobs().remove("$O.>")
        await operator.close()

    asyncio.run(make())
    place = Place(tmp_path / "secrets")
    info = ServerInfo("https://id", "1", "2", nats.url, nats.tls.ca, "v0.1.0")
    monkeypatch.setattr(publisher, "cluster", lambda: SimpleNamespace(host="https://kube.example.org"))
    monkeypatch.setattr(publisher, "installed", lambda *_: info)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(publisher, "place", lambda _: place)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    return place


def test_from_a_key_to_a_published_agent(fleet: Fleet, server: Place, tmp_path: Path) -> None:
    made = fleet("agent", "new-key", "--out", "release.key", "--trusted-keys", "trusted-keys.json", "-o", "json")
    assert made.code == 0, made.err
    assert stat.S_IMODE((tmp_path / "release.key").stat().st_mode) == 0o600
    key = made.json["keyId"]
    built = fleet("agent", "build", "--version", "v0.1.1", *NATIVE, "-o", "json")
    assert built.code == 0, built.err
    assert built.json["signedBy"] == ""

    refused = fleet("agent", "publish", "fleet-agent-v0.1.1")
    assert refused.code == 2
    assert "not signed" in refused.err
    signed = fleet("agent", "sign", "fleet-agent-v0.1.1", "--key", "release.key", "-o", "json")
    assert signed.json["digest"] == built.json["digest"]

    early = fleet("agent", "publish", "fleet-agent-v0.1.1")
    assert early.code == 3
    assert "fleet server install" in early.err
    server.secrets.get_or_create(PUBLISHER_PASSWORD, PASSWORDS.publisher.encode)
    published = fleet("agent", "publish", "fleet-agent-v0.1.1", "-o", "json")
    assert published.code == 0, published.err
    assert published.json["changed"] is True
    assert fleet("agent", "publish", "fleet-agent-v0.1.1", "-o", "json").json["changed"] is False

    (listed,) = fleet("agent", "list", "-o", "json").json
    assert (listed["version"], listed["signedBy"], listed["fault"]) == ("v0.1.1", key, "")
    assert listed == fleet("agent", "show", "v0.1.1", "-o", "json").json
    assert key in fleet("agent", "list").out
    assert fleet("agent", "show", "v9.9.9").code == 4
    assert PASSWORDS.publisher not in fleet("agent", "show", "v0.1.1").out


def test_a_key_is_never_replaced_and_its_list_grows(fleet: Fleet, tmp_path: Path) -> None:
    words = ("--trusted-keys", "trusted-keys.json")
    assert fleet("agent", "new-key", "--out", "one.key", *words).code == 0
    assert fleet("agent", "new-key", "--out", "one.key", *words).code == 5
    assert fleet("agent", "new-key", "--out", "two.key", *words).code == 0
    listed = (tmp_path / "trusted-keys.json").read_text()
    assert listed.count('"id"') == 2
    (tmp_path / "trusted-keys.json").write_text("garbage")
    assert fleet("agent", "new-key", "--out", "three.key", *words).code == 2
    assert not (tmp_path / "three.key").exists()


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("build", "--version", "latest"), 2, "semantic version"),
        (("build", "--version", "v1.0.0+build"), 2, "build metadata"),
        (("build", "--version", "v1.0.0", "--architecture", "vax"), 2, "vax"),
        (("build", "--version", "v1.0.0", "--key", "none.key"), 4, "new-key"),
        (("sign", "nothing", "--key", "none.key"), 4, "none.key"),
        (("publish", "nothing"), 4, "nothing"),
        (("show", "latest"), 2, "semantic version"),
    ],
    ids=str,
)
def test_bad_input_is_refused_at_the_door(fleet: Fleet, words: tuple[str, ...], code: int, named: str) -> None:
    said = fleet("agent", *words)
    assert (said.code, named in said.err) == (code, True), said.err


def device(name: str, spec: DeviceSpec | None = None, info: DeviceInfo | None = None) -> Device:
    return Device(Metadata(name), spec or DeviceSpec(), DeviceStatus(info=info))


def info(running: str, upgrade: UpgradeStatus | None = None) -> DeviceInfo:
    return DeviceInfo(AgentVersion(running), "x86_64", "", "", 1, 1, "boot", upgrade=upgrade)


def test_what_a_device_may_need_always_stays() -> None:
    status = UpgradeStatus(
        3,
        UpgradePhase.SOAKING,
        UpgradeReason.IN_PROGRESS,
        running=AgentVersion("v4.0.0"),
        committed=AgentVersion("v3.0.0"),
        candidate=AgentVersion("v4.0.0"),
        previous=AgentVersion("v2.0.0"),
    )
    fleet_of = [
        device("a", DeviceSpec(agent_version="v5.0.0"), info("v4.0.0", status)),
        device("b", info=info("v1.0.0")),
        device("c", DeviceSpec(revoked=True)),
    ]
    assert needed_versions(fleet_of) == {f"v{major}.0.0" for major in range(1, 6)}


def test_where_it_is_not_known_nothing_is_taken_away() -> None:
    with pytest.raises(Conflict, match="what new runs"):
        needed_versions([device("old", info=info("v1.0.0")), device("new")])
