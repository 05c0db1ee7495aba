"""`fleet device revoke` of a batch: those that fit, all of them, and nobody else; the test plays the operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from fleet.cli.context import read_all
from fleet.cli.invalid import typed
from fleet.cli.revoke import fits
from fleet.contract.objects import ENROLLED_AT, Device, DeviceSpec, Metadata
from fleet.contract.selector import Selector
from fleet.kube.client import KubeClient
from harness.probes.kube import KubeProbe
from tests.cli.conftest import PAT, Fleet
from tests.support.kube import Kube


def revoked(probe: KubeProbe, *names: str) -> list[bool]:
    found = [probe.device(name) for name in names]
    return [item is not None and item.spec.revoked for item in found]


def test_every_device_that_fits_and_no_other(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None], probe: KubeProbe, kube: Kube, namespace: str
) -> None:
    for name, site in (("pi-1", "lab"), ("pi-2", "lab"), ("pi-3", "roof")):
        device(name)
        patch = json.dumps({"metadata": {"labels": {"site": site, "row": "1"}}})
        kube.kubectl("-n", namespace, "patch", "device", name, "--type=merge", "-p", patch)
        says(name, "Revoked", "True", "SessionsDropped", ahead=1)
    batch = ("device", "revoke", "--selector", "site=lab,row in (1,2)")
    would = fleet(*batch, "--dry-run")
    assert (would.code, would.out.split()) == (0, ["pi-1", "pi-2", "2", "devices", "would", "be", "revoked"])
    for given, said in (((), "2 devices fit: pi-1, pi-2;"), (("--confirm", "3"), "2 devices fit, not 3: pi-1, pi-2;")):
        refused = fleet(*batch, *given)
        assert (refused.code, said in refused.err) == (5, True), refused.err
        assert "--confirm 2" in refused.err
    assert revoked(probe, "pi-1", "pi-2", "pi-3") == [False] * 3
    answer = fleet(*batch, "--confirm", "2", *PAT, "--output", "json")
    assert answer.code == 0, answer.err
    assert [item["device"] for item in answer.json] == ["pi-1", "pi-2"]
    assert revoked(probe, "pi-1", "pi-2", "pi-3") == [True, True, False]


def test_what_counts_is_the_last_enrollment() -> None:
    """A device with a fresh configuration is not of the batch that leaked before it, however old its object is."""
    leak = datetime(2026, 1, 2, tzinfo=UTC)

    def item(told: str) -> Device:
        notes = {ENROLLED_AT: told} if told else {}
        return Device(Metadata("pi-1", creation_timestamp="2026-01-01T00:00:00Z", annotations=notes), DeviceSpec())

    assert fits(item(""), leak, Selector()), "one of a former release tells only when it was made"
    assert fits(item("2026-01-01T23:59:59Z"), leak, Selector())
    assert not fits(item("2026-01-02T00:00:00Z"), leak, Selector())
    for nonsense in ("tomorrow", "2030-01-01T00:00:00", "1999-01-01T00:00:00Z"):
        assert fits(item(nonsense), leak, Selector()), nonsense


def test_an_enrollment_writes_its_time(fleet: Fleet, device: Callable[[str], None], probe: KubeProbe) -> None:
    device("pi-1")
    first = probe.device("pi-1")
    assert first
    told = datetime.fromisoformat(first.metadata.annotations[ENROLLED_AT])
    assert abs(told - datetime.fromisoformat(first.metadata.creation_timestamp)) < timedelta(minutes=1)
    assert fleet("device", "revoke", "--enrolled-before", "2020-01-01T00:00:00Z").code == 4
    assert revoked(probe, "pi-1") == [False]


def test_all_are_barred_before_the_first_is_waited_for(
    fleet: Fleet, device: Callable[[str], None], probe: KubeProbe, says: Callable[..., None], kube: Kube, namespace: str
) -> None:
    """Without an operator each revocation is recorded, and the command names each that is not finished."""
    for name in ("pi-1", "pi-2", "pi-3"):
        device(name)
        kube.kubectl(
            "-n", namespace, "patch", "device", name, "--type=merge", "-p", '{"metadata": {"labels": {"a": "b"}}}'
        )
    says("pi-2", "Revoked", "True", "SessionsDropped", ahead=1)
    answer = fleet("device", "revoke", "--selector", "a=b", "--confirm", "3", "--timeout", "0.3")
    assert answer.code == 8
    assert "2 of 3 revocations are recorded, and not finished" in answer.err
    assert "sessions of pi-1" in answer.err
    assert "sessions of pi-3" in answer.err
    assert answer.out.startswith("pi-2 is revoked")
    assert revoked(probe, "pi-1", "pi-2", "pi-3") == [True] * 3


def test_one_whose_spec_does_not_parse_is_left_out_and_named(
    fleet: Fleet,
    device: Callable[[str], None],
    probe: KubeProbe,
    says: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch that leaked is shut out, whatever else is wrong in the cluster; the one that is not is no secret."""
    device("pi-1")
    says("pi-1", "Revoked", "True", "SessionsDropped", ahead=1)
    raw = {"metadata": {"name": "pi-0", "namespace": "n"}, "spec": {"revoked": "perhaps"}}
    bad = typed({**raw, "kind": "Device"}, Device)

    def every(kube: KubeClient, kind: type[Device], namespace: str) -> list[Device]:
        return [bad, *read_all(kube, kind, namespace)]

    monkeypatch.setattr("fleet.cli.revoke.read_all", every)
    would = fleet("device", "revoke", "--selector", "!old", "--dry-run")
    assert (would.code, would.out.split()[0], "the Device 'pi-0' is invalid" in would.err) == (2, "pi-1", True)
    answer = fleet("device", "revoke", "--selector", "!old", "--confirm", "1")
    assert (answer.code, revoked(probe, "pi-1")) == (2, [True])
    assert answer.out.startswith("pi-1 is revoked")
    assert "1 left out" in answer.err
    assert "the Device 'pi-0' is invalid" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name one device"),
        (("pi-1", "--selector", "site=lab"), "name one device"),
        (("pi-1", "--dry-run"), "--dry-run and --confirm are for a batch"),
        (("pi-1", "--confirm", "1"), "--dry-run and --confirm are for a batch"),
        (("--selector", "site=lab", "--confirm", "many"), "--confirm"),
        (("--enrolled-before", "yesterday"), "no time with a zone"),
        (("--enrolled-before", "2026-01-01T00:00:00"), "no time with a zone"),
        (("--enrolled-before", "9999-01-01T00:00:00Z"), "lies ahead"),
        (("--selector", "site in"), "--selector"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_door(fleet: Fleet, words: tuple[str, ...], said: str) -> None:
    answer = fleet("device", "revoke", *words)
    assert answer.code == 2
    assert said in answer.err
