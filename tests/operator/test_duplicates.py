"""Two devices with one identity are told from a reboot, and from an upgrade."""

from __future__ import annotations

from fleet.contract.names import AgentVersion
from fleet.contract.wire import Heartbeat
from fleet.operator.store import Store


def heard(*beats: tuple[str, str]) -> bool:
    """Whether a store that hears these (instance, boot) one by one tells two devices with one identity."""
    store = Store(3)
    for number, (instance, boot) in enumerate(beats, 1):
        beat = Heartbeat(AgentVersion("v0.1.0"), instance, boot, number, 10)
        store.put_heartbeat("pi-1", beat, float(len(beats) - number), number)
    return store.snapshot().is_duplicated("pi-1")


A, B, NEXT = ("a", "boot-1"), ("b", "boot-2"), ("next", "boot-1")


def test_two_that_alternate_are_told() -> None:
    assert heard(A, B, A, B)
    assert heard(A, A, B, B, A, A, B)


def test_one_late_message_is_not() -> None:
    assert not heard(A, B, A)


def test_a_reboot_is_not() -> None:
    assert not heard(A, A, B, B, B)
    assert not heard(A, B, ("c", "boot-3"), ("d", "boot-4"))


def test_an_upgrade_is_not() -> None:
    assert not heard(A, NEXT, A, NEXT, A, NEXT, NEXT)
