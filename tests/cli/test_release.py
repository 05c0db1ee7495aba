"""`fleet device release` with a real API server; the test plays the operator."""

from __future__ import annotations

from collections.abc import Callable

from harness.probes.kube import KubeProbe
from harness.wait import wait_until
from tests.cli.conftest import Background, Fleet

Start = Callable[..., Background]


def released(probe: KubeProbe) -> int:
    found = probe.device("pi-1")
    assert found is not None
    return found.spec.released


def test_a_release_is_an_order_and_waits_until_the_operator_obeyed(
    start: Start, device: Callable[[str], None], says: Callable[..., None], probe: KubeProbe
) -> None:
    device("pi-1")
    for number in (1, 2):
        says("pi-1", "Quarantined", "True", "Flooding")
        command = start("device", "release", "pi-1", "--output", "json")
        wait_until(lambda: released(probe), "it is ordered", timeout=30, until=lambda seen, n=number: seen == n)
        assert not command.answers
        says("pi-1", "Quarantined", "False", "Released")
        answer = command.answer()
        assert answer.code == 0, answer.err
        assert answer.json == {"device": "pi-1", "released": True}


def test_a_device_that_is_not_in_quarantine_is_left_alone(
    fleet: Fleet, device: Callable[[str], None], probe: KubeProbe
) -> None:
    device("pi-1")
    answer = fleet("device", "release", "pi-1")
    assert (answer.code, answer.out) == (0, "pi-1 is not in quarantine; nothing was changed\n")
    assert released(probe) == 0


def test_a_release_without_an_operator_says_that_it_is_recorded(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None], probe: KubeProbe
) -> None:
    device("pi-1")
    says("pi-1", "Quarantined", "True", "Flooding")
    answer = fleet("device", "release", "pi-1", "--timeout", "0.3")
    assert answer.code == 8
    assert "it is recorded" in answer.err
    assert released(probe) == 1


def test_a_revoked_device_is_not_released(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None]
) -> None:
    device("pi-1")
    says("pi-1", "Revoked", "True", "SessionsDropped", ahead=1)
    assert fleet("device", "revoke", "pi-1").code == 0
    answer = fleet("device", "release", "pi-1")
    assert answer.code == 5
    assert "enroll --replace" in answer.err


def test_a_device_that_is_not_there(fleet: Fleet, device: Callable[[str], None]) -> None:
    del device
    answer = fleet("device", "release", "pi-9")
    assert answer.code == 4
    assert "'pi-9'" in answer.err
