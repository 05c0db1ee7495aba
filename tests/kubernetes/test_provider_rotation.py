"""A bundled identity provider in a rotation, on a real API server; its pods are played, and no NATS is asked."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fleet.contract.certificates import certificates
from fleet.contract.errors import FleetError, NotPermitted
from fleet.install.authority import AUTHORITY_KEY
from fleet.install.identity import OWNER_PASSWORD, PROVIDER_KEY, USER_PASSWORD
from fleet.install.server import FleetServerScore, RegisteredProject
from fleet.install.tls import is_for, is_signed_by
from fleet.kube.client import KubeClient
from fleet.rotation import ground as grounds
from fleet.rotation.catalogue import find
from fleet.rotation.decide import Apply, Goal, decide
from fleet.rotation.drive import drive
from fleet.rotation.ground import Ground, Installed
from fleet.rotation.lease import lease
from fleet.rotation.look import InUse
from fleet.secrets.kubernetes import KubernetesSecretStore
from fleet.secrets.store import Change
from fleet.topology.capabilities import PlaceRequest
from fleet.topology.kubernetes.topology import KubernetesTopology
from fleet.topology.place_options import PlaceOptions
from harness.wait import wait_until
from tests.support.controllers import Controllers
from tests.support.kube import Kube

_NONE = PlaceOptions()


@dataclass(frozen=True)
class Ports:
    """Of NATS and of the issuer: node ports belong to the whole cluster."""

    nats: int
    issuer: int


@pytest.fixture
def controllers(namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controllers]:
    async def look(*_: object, **__: object) -> InUse:
        return InUse({}, {}, {})

    monkeypatch.setattr(grounds, "look", look)
    with Controllers(namespace).run() as running:
        yield running


@pytest.fixture
def namespace(kube: Kube) -> str:
    return kube.fresh("fleet")


@pytest.fixture
def ports(kube: Kube) -> Ports:
    return Ports(*(30000 + int(kube.fresh("port").rpartition("-")[2]) for _ in range(2)))


def place_of(
    namespace: str, options: PlaceOptions = _NONE, remembered: str = "", within: float = 60
) -> KubernetesTopology:
    request = PlaceRequest(
        namespace=namespace, timeout=within, progress=lambda _: None, options=options, remembered=remembered
    )
    return KubernetesTopology(KubeClient(), request, KubernetesSecretStore(KubeClient(), namespace))


def install(namespace: str, ports: Ports, *, bundled: bool = True) -> None:
    place = place_of(namespace, PlaceOptions(nats_address=f"nats.example.org:{ports.nats}"))
    issuer = f"https://id.example.org:{ports.issuer}"
    score = FleetServerScore(issuer, RegisteredProject("1", "2"), namespace=namespace, bundled_identity=bundled)
    score.interpret(place, tell=_unheard, progress=_unheard)


@pytest.fixture
def server(controllers: Controllers, namespace: str, ports: Ports) -> Installed:
    """A server with its provider, as commands find it."""
    del controllers
    install(namespace, ports)
    return found(namespace)


def _unheard(_: object) -> None:
    pass


def found(namespace: str, within: float = 60) -> Installed:
    """With as many seconds for parts to become ready."""
    return Installed.find(KubeClient(), namespace, lambda told: place_of(namespace, remembered=told, within=within))


def files(namespace: str, name: str) -> dict[str, bytes]:
    item = KubeClient().find("Secret", name, namespace)
    assert item
    return {file: base64.b64decode(content) for file, content in item["data"].items()}


def rotate(server: Installed, name: str, goal: Goal = Goal.FORWARD, timeout: float = 60) -> list[str]:
    """What it said."""
    said: list[str] = []
    server.require_rotatable(name)
    with lease(KubeClient(), server.install.settings.namespace, name) as held:
        drive(Ground(server, find(name), held), goal, timeout=timeout, wait=True, progress=said.append)
    return said


def only(server: Installed, name: str) -> bytes:
    """The one version that is kept, and that both parts have."""
    kept = server.kept(name)
    assert (kept.next, kept.previous) == (None, None)
    step = decide(find(name).seen(kept, server.in_use(devices=True)), Goal.FORWARD, begin=False)
    assert not isinstance(step, Apply), step
    return kept.current


def test_the_authority_is_trusted_by_zitadel_before_postgres_shows_a_certificate_of_it(
    server: Installed, namespace: str, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = server.info.ca
    seen: list[tuple[str, int, bool]] = []
    renew = KubernetesTopology.renew

    def watched(place: KubernetesTopology, services: list[grounds.Any]) -> object:
        done = renew(place, services)
        for service in services:
            if service.name in {"postgres", "zitadel"}:
                trusted = len(certificates(files(namespace, "fleet-zitadel")["ca.crt"].decode()))
                seen.append((service.name, trusted, is_signed_by(service.files["tls.crt"], old.encode())))
        return done

    monkeypatch.setattr(KubernetesTopology, "renew", watched)
    rotate(server, AUTHORITY_KEY)
    assert seen == [("zitadel", 2, True), ("postgres", 2, False), ("zitadel", 2, False), ("zitadel", 1, False)]
    authority = found(namespace).info.ca
    assert certificates(authority) != certificates(old)
    for name in ("fleet-postgres", "fleet-zitadel"):
        assert is_signed_by(files(namespace, name)["tls.crt"], authority.encode())
    only(server, AUTHORITY_KEY)
    before = KubeClient().list("Deployment", namespace), KubeClient().list("StatefulSet", namespace)
    install(namespace, ports)
    assert (KubeClient().list("Deployment", namespace), KubeClient().list("StatefulSet", namespace)) == before


def test_its_key_and_its_passwords_are_those_of_the_store_at_the_end_and_a_way_back_leads_back(
    server: Installed, namespace: str
) -> None:
    old = {name: server.kept(name).current for name in (PROVIDER_KEY, OWNER_PASSWORD, USER_PASSWORD)}
    for name in old:
        said = rotate(server, name)
        assert said.count("applying what the store has") == 1, said
    key, owner, user = (only(server, name) for name in old)
    assert not {key, owner, user} & set(old.values())
    postgres, zitadel = files(namespace, "fleet-postgres"), files(namespace, "fleet-zitadel")
    assert is_for(postgres["tls.crt"], key)
    assert is_for(zitadel["tls.crt"], key)
    assert (postgres["password"], postgres["zitadel.password"]) == (owner, user)
    assert owner in zitadel["zitadel.yaml"]
    assert user in zitadel["zitadel.yaml"]
    store = server.place.secrets
    for change in (Change.STAGE, Change.PROMOTE):
        store.change(USER_PASSWORD, server.kept(USER_PASSWORD), change, b"another" if change is Change.STAGE else b"")
    server.apply()
    rotate(server, USER_PASSWORD, Goal.BACK)
    assert only(server, USER_PASSWORD) == user
    assert files(namespace, "fleet-postgres")["zitadel.password"] == user


def test_a_zitadel_that_does_not_come_up_holds_up_its_own_rotation_and_no_other(
    server: Installed, controllers: Controllers, namespace: str
) -> None:
    controllers.held.add("fleet-zitadel")
    controllers.settle()
    server.apply()
    hasty = found(namespace, within=1)

    def stuck() -> str:
        with pytest.raises(FleetError) as raised:
            rotate(hasty, USER_PASSWORD, timeout=0.5)
        return raised.value.what

    # Another part may need more than a second on a busy machine: a repeat goes on.
    for said in ("not ready within 1 s: zitadel", "zitadel still uses what it had before"):
        wait_until(stuck, said, timeout=120, until=lambda last, said=said: said in last)
    kept = server.kept(USER_PASSWORD)
    assert kept.previous is not None
    controllers.held.clear()
    rotate(server, USER_PASSWORD)
    assert only(server, USER_PASSWORD) == kept.current


def test_one_that_the_last_install_did_not_name_is_not_left_with_an_authority_that_nobody_trusts(
    server: Installed, namespace: str, ports: Ports
) -> None:
    del server
    install(namespace, ports, bundled=False)
    for name in (AUTHORITY_KEY, PROVIDER_KEY, USER_PASSWORD):
        with pytest.raises(NotPermitted, match="repeat `fleet server install` with --bundled-identity"):
            found(namespace).require_rotatable(name)
    found(namespace).require_rotatable("nats_app_pass")
