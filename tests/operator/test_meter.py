"""Who writes too much, and who only has much to say after an outage."""

from __future__ import annotations

from fleet.contract.limits import BYTE_BURST, BYTE_RATE, MAX_DEPLOYMENTS, MESSAGE_BURST, MESSAGE_RATE
from fleet.operator.meter import Flood, Meter


def heard(*writes: tuple[float, int]) -> list[Flood]:
    """The floods of a device that writes a message of a size at each time."""
    floods: list[Flood] = []
    meter = Meter(floods.append)
    for at, size in writes:
        meter.count(b"pi-1", size, at)
    return floods


def evenly(rate: float, seconds: float, size: int = 300) -> list[tuple[float, int]]:
    return [(number / rate, size) for number in range(int(rate * seconds))]


def test_a_device_at_its_rate_is_never_a_flood() -> None:
    assert heard(*evenly(MESSAGE_RATE, 600)) == []
    assert heard(*evenly(10, 600, BYTE_RATE // 10)) == []


def test_a_device_above_its_rate_is_one_once_its_burst_is_used_up() -> None:
    (flood,) = heard(*evenly(2 * MESSAGE_RATE, 1.5 * MESSAGE_BURST / MESSAGE_RATE))
    assert flood.device == "pi-1"
    assert flood.messages / flood.seconds > 1.9 * MESSAGE_RATE
    assert abs(flood.seconds - MESSAGE_BURST / MESSAGE_RATE) < 0.1


def test_few_and_large_messages_are_one_too() -> None:
    (flood,) = heard(*[(0.0, 64 * 1024)] * (BYTE_BURST // (64 * 1024) + 1))
    assert flood.messages < MESSAGE_BURST
    assert flood.size > BYTE_BURST


def test_all_that_an_agent_has_to_say_when_it_comes_back_is_none_even_three_times_in_a_row() -> None:
    said = MAX_DEPLOYMENTS + 2
    flapping = [(moment, 1500) for moment in (0.0, 2.0, 4.0) for _ in range(said)]
    assert heard(*flapping) == []


def test_each_device_has_a_burst_of_its_own() -> None:
    floods: list[Flood] = []
    meter = Meter(floods.append)
    for number in range(MESSAGE_BURST):
        meter.count(b"pi-1", 300, 0.0)
        meter.count(b"pi-2", 300, number / MESSAGE_RATE)
    assert floods == []
    meter.count(b"pi-1", 300, 0.0)
    assert [flood.device for flood in floods] == ["pi-1"]


def test_who_goes_on_is_told_of_again() -> None:
    assert len(heard(*[(0.0, 1)] * (3 * (MESSAGE_BURST + 1)))) == 3


def test_the_figures_are_those_since_it_was_last_quiet() -> None:
    quiet = evenly(1, 3600)
    (flood,) = heard(*quiet, *[(3600.0, 300)] * (MESSAGE_BURST + 1))
    assert flood.messages <= MESSAGE_BURST + 2
    assert flood.seconds <= 1
    assert "messages" in flood.message
