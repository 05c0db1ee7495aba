"""Nobody who is not signed in makes the page ask the provider without end."""

from __future__ import annotations

import pytest

from fleet.web.networks import network_of
from fleet.web.pace import Pace, TooOften


def asked(pace: Pace, *networks: str) -> int:
    """How many of these may ask."""
    found = 0
    for network in networks:
        try:
            pace.take(network)
        except TooOften:
            continue
        found += 1
    return found


def test_a_network_asks_once_a_second_and_costs_no_other_one_its_turn() -> None:
    clock = [7.0]
    pace = Pace(lambda: clock[0])
    assert asked(pace, *["192.0.2.1"] * 1_000) == 60
    assert asked(pace, "192.0.2.2") == 1
    with pytest.raises(TooOften, match="too many sign-ins"):
        pace.take("192.0.2.1")
    clock[0] += 60
    assert asked(pace, *["192.0.2.1"] * 1_000) == 60


def test_all_networks_together_ask_five_times_a_second() -> None:
    pace = Pace(lambda: 7.0)
    assert asked(pace, *[f"192.0.2.{number}" for number in range(200) for _ in range(10)]) == 300


def test_a_48_is_not_256_networks() -> None:
    pace = Pace(lambda: 7.0)
    assert asked(pace, *[network_of(f"2001:db8:1:{number << 8:x}::1") for number in range(256)]) == 120
    assert asked(pace, network_of("2001:db8:2::1")) == 1
