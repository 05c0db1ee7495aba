"""`fleet secrets rotate` where it cannot work: wrong clocks, secrets that are gone, an authority that has ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from fleet.cli.trust import confirm, server_key
from fleet.contract.certificates import certificate_id, certificate_ids, joined
from fleet.contract.names import AgentVersion
from fleet.contract.wire import DeviceInfo, encode
from fleet.install import tls
from fleet.install.authority import AUTHORITY_KEY, authority_certificate
from fleet.kube import refusals
from fleet.kube.client import KubeClient
from fleet.rotation import ground
from fleet.rotation.ground import Installed
from fleet.rotation.look import InUse
from fleet.secrets.store import Kept
from harness.probes.kube import KubeProbe
from tests.cli.conftest import PAT, Fleet, Json, Place, install_words
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube


def shifted(days: int) -> type[datetime]:
    """A clock that is wrong by so many days."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(days=days)

    return Shifted


@pytest.mark.parametrize("days", [-4000, -1, 1, 4000])
def test_a_clock_that_is_wrong_is_told_before_anything_is_judged_by_it(
    installed: Place, fleet: Fleet, idp: Idp, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Else an authority would be taken for one that has ended, and certificates be made that nobody accepts."""
    kept = installed.secrets.versions(AUTHORITY_KEY)
    monkeypatch.setattr(refusals, "datetime", shifted(days))
    for words in (("secrets", "rotate", AUTHORITY_KEY), ("secrets", "rotate", "--due"), install_words(idp)):
        answer = fleet(*words)
        assert answer.code == 7, answer.err
        assert "this machine's clock says" in answer.err
        assert "timedatectl" in answer.err
    assert installed.secrets.versions(AUTHORITY_KEY) == kept


def test_a_clock_that_is_a_little_late_is_none_of_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    del place

    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(minutes=50)

    monkeypatch.setattr(refusals, "datetime", Late)
    assert "no fleet server is installed" in fleet("secrets", "rotate", AUTHORITY_KEY).err


def test_secrets_that_are_gone_are_not_made_anew(installed: Place, fleet: Fleet) -> None:
    """As when the Secret was deleted by hand: whoever is given a new authority by that is trusted by no device."""
    installed.secrets.clear()
    for words in (("secrets", "rotate", "nats_app_pass"), ("secrets", "rotate", "--due"), ("secrets", "list")):
        answer = fleet(*words)
        assert answer.code == 4, answer.err
        assert "its secrets are gone" in answer.err
        assert "restore them from a backup" in answer.err
    assert installed.secrets.get(AUTHORITY_KEY) is None
    status = fleet("server", "status", "--output", "json")
    assert "its secrets are gone" in status.json["secrets"]["secrets"]


def end_authority(place: Place, namespace: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The authority's certificate is one of the same key whose time is over, and is announced; returns its id."""
    key = place.secrets.get(AUTHORITY_KEY)
    assert key
    with monkeypatch.context() as past:
        past.setattr(tls, "datetime", shifted(-4000))
        certificate = tls.new_authority(key, "fleet")
    (place.secrets._folder / "ca_cert").write_bytes(certificate)  # pyright: ignore[reportPrivateUsage]
    found = KubeClient().find("ConfigMap", "fleet-server", namespace)
    assert found
    data: Json = found["data"]
    ca = joined([certificate.decode()]) + json.loads(data["install.json"])["settings"]["issuer_ca"]
    server = json.dumps({**json.loads(data["server.json"]), "ca": ca})
    metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels")}
    KubeClient().put({**found, "metadata": metadata, "data": {**data, "server.json": server}}, force=True)
    confirm(server_key(KubeClient().host, namespace), Installed.find(KubeClient(), namespace, lambda _: place).info)
    return certificate_id(certificate.decode())


def enroll(fleet: Fleet, name: str) -> None:
    answer = fleet("device", "enroll", "--device-id", name, "--out", f"{name}.json", *PAT)
    assert answer.code == 0, answer.err


def reports(kube: Kube, namespace: str, device: str, *trusts: str) -> None:
    """As the operator writes what a device said last."""
    info = DeviceInfo(AgentVersion("v0.1.0"), "aarch64", "Debian", "6.1.0", 1 << 30, 1 << 33, "boot", trusts=trusts)
    told: Json = json.loads(encode(info))
    told.pop("type", None)
    patch = json.dumps({"status": {"info": told}})
    kube.kubectl("-n", namespace, "patch", "device", device, "--subresource=status", "--type=merge", "-p", patch)


def announced_ca(namespace: str) -> str:
    found = KubeClient().find("ConfigMap", "fleet-server", namespace)
    assert found
    return json.loads(found["data"]["server.json"])["ca"]


def operator_ca(place: Place) -> str:
    (name,) = (one for one in place.running["operator"].files if one.endswith(".json"))
    return json.loads(place.running["operator"].files[name])["ca"]


def kept(place: Place) -> Kept:
    found = place.secrets.versions(AUTHORITY_KEY)
    assert found
    return found


def test_an_authority_that_has_ended_is_replaced_and_who_must_be_visited_is_named(
    installed: Place, fleet: Fleet, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can connect, so nobody is waited for: parts come back with another one, devices by a visit."""
    for name in ("pi-1", "pi-2"):
        enroll(fleet, name)
    old = end_authority(installed, namespace, monkeypatch)
    reports(kube, namespace, "pi-1", old)
    before = kept(installed)
    refused = fleet("secrets", "rotate", "nats_app_pass")
    assert refused.code == 5, refused.err
    assert "certificate authority has ended on" in refused.err
    assert "rotate ca_key` first" in refused.err
    refused = fleet("secrets", "rotate", "device_key", "pi-1", *PAT)
    assert (refused.code, "has ended on" in refused.err) == (5, True), refused.err
    seen = fleet("secrets", "rotate", AUTHORITY_KEY, "--dry-run", "--output", "json")
    assert seen.code == 0, seen.err
    outcome = seen.json[0]["outcome"]
    assert "it would begin here" in outcome
    assert "--trust FILE`): pi-1, pi-2" in outcome
    assert kept(installed) == before
    done = fleet("secrets", "rotate", AUTHORITY_KEY, "--timeout", "1")
    assert done.code == 8, done.err  # no NATS runs here
    assert "must be visited" in done.err
    assert "the rotation waits: NATS: " in done.err
    after = kept(installed)
    assert after.previous == before.current
    made = certificate_id(authority_certificate(installed.secrets, after.current).decode())
    assert made in certificate_ids(announced_ca(namespace))
    assert made in certificate_ids(operator_ca(installed))
    refused = fleet("secrets", "rotate", AUTHORITY_KEY, "--abort")
    assert refused.code == 5, refused.err
    assert "there is no way back" in refused.err
    assert kept(installed) == after


def test_a_device_that_trusts_the_next_authority_needs_no_visit(
    installed: Place, fleet: Fleet, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the old one ends in the middle of a rotation, those that took the bundle come back by themselves."""
    for name in ("pi-1", "pi-2", "pi-3"):
        enroll(fleet, name)
    old = end_authority(installed, namespace, monkeypatch)
    following = tls.new_key()
    store = installed.secrets
    store.change(AUTHORITY_KEY, kept(installed), ground.Change.STAGE, following)
    new = certificate_id(authority_certificate(store, following).decode())
    reports(kube, namespace, "pi-1", old)
    reports(kube, namespace, "pi-2", old, new)
    kube.kubectl("-n", namespace, "patch", "device", "pi-3", "--type=merge", "-p", '{"spec": {"revoked": true}}')
    seen = fleet("secrets", "rotate", AUTHORITY_KEY, "--dry-run", "--output", "json")
    assert seen.json[0]["outcome"].endswith("): pi-1"), seen.json
    refused = fleet("secrets", "rotate", AUTHORITY_KEY, "--abort")
    assert (refused.code, "there is no way back" in refused.err) == (5, True), refused.err


def test_a_device_that_is_revoked_in_the_middle_is_waited_for_no_longer(
    installed: Place, fleet: Fleet, probe: KubeProbe, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pi-1", "pi-2"):
        enroll(fleet, name)
    asked: list[Sequence[str] | None] = []

    async def look(*_: object, enrolled: Sequence[str] | None = None, **__: object) -> InUse:
        asked.append(enrolled)
        return InUse({}, {}, {})

    monkeypatch.setattr(ground, "look", look)
    found = Installed.find(KubeClient(), namespace, lambda _: installed)
    found.in_use(devices=True)
    probe.patch(probe.path("devices", "pi-2"), {"spec": {"revoked": True}})
    found.in_use(devices=True)
    assert asked == [["pi-1", "pi-2"], ["pi-1"]]


def test_a_revocation_in_the_middle_of_an_enrollment_stands(
    installed: Place, fleet: Fleet, idp: Idp, probe: KubeProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--replace` lifts a revocation that its admin could know of, and no other."""
    del installed, idp
    enroll(fleet, "pi-1")
    before, subject = Path("pi-1.json").read_bytes(), probe.path("devices", "pi-1")

    def meanwhile(*_: object, **__: object) -> None:
        probe.patch(subject, {"spec": {"revoked": True}})

    monkeypatch.setattr("fleet.install.enroll.wait_for_token", meanwhile)
    known = probe.device("pi-1")
    answer = fleet("device", "enroll", "--device-id", "pi-1", "--out", "pi-1.json", "--replace", *PAT)
    assert answer.code == 5, answer.err
    assert "pi-1 was revoked while it was enrolled again" in answer.err
    found = probe.device("pi-1")
    assert found
    assert known
    assert (found.spec.revoked, found.spec.subject) == (True, known.spec.subject)
    assert Path("pi-1.json").read_bytes() == before
