"""One device that writes without end is shown, and hides no other one."""

from __future__ import annotations

import json

import msgspec

from fleet.contract.states import DeviceStates
from fleet.web.store import Store
from fleet.web.streams import FROM_THE_NEWEST, TailFeed
from fleet.web.tail import KEPT, Line, Tail

_OTHERS = [f"pi-{number}" for number in range(50)]
_FLOOD = 3 * KEPT


def flooded() -> Tail:
    """Fifty devices said one thing each, then one said three times what is kept."""
    tail = Tail()
    for name in _OTHERS:
        tail.add(0, "device-info", name, "agent v1")
    for number in range(_FLOOD):
        tail.add(0, "device-state", "bad", f"line {number}")
    return tail


def of(lines: list[Line], device: str) -> list[str]:
    return [line.text for line in lines if line.device == device]


def test_entries_that_cannot_be_read_are_one_line_a_message() -> None:
    store = Store()
    entries = {f"made-up-{number}": msgspec.Raw(b"7") for number in range(500)}
    store.update_states("pi-1", DeviceStates(entries))
    ((line,), dropped) = store.tail.since(0, 1_000)
    assert line.text.startswith("500 entries cannot be read, the first is made-up-0: ")
    assert dropped == 0
    store.update_states("pi-1", DeviceStates({"web": msgspec.Raw(b"7")}))
    assert store.tail.since(1, 1)[0][0].text.startswith("web: ")


def test_a_device_that_floods_ends_its_own_lines_and_those_of_no_other() -> None:
    tail = flooded()
    kept, dropped = tail.since(0, KEPT)
    assert [line.device for line in kept[:50]] == _OTHERS
    bad = of(kept, "bad")
    assert bad == [f"line {number}" for number in range(_FLOOD - len(bad), _FLOOD)], "its newest"
    assert len(kept) >= KEPT - 1, "nobody else needs the rest"
    assert dropped == len(_OTHERS) + _FLOOD - len(kept)


def test_others_are_kept_that_say_something_after_a_flood() -> None:
    tail = flooded()
    for number in range(KEPT * 2):
        tail.add(0, "device-info", f"device-{number}", "agent v1")
        tail.add(0, "device-state", "bad", "more")
    kept, _ = tail.since(0, KEPT)
    assert len(kept) >= KEPT - 1
    assert len(of(kept, "bad")) <= 101
    assert [line.number for line in kept] == sorted({line.number for line in kept})


def test_an_answer_shows_others_beside_a_device_that_floods() -> None:
    """So does the first screen, which shows the last dozen changes."""
    lines, dropped = flooded().since(0, 90)
    assert [line.device for line in lines[:50]] == _OTHERS
    assert of(lines, "bad") == [f"line {number}" for number in range(_FLOOD - 40, _FLOOD)], "it fills what is free"
    assert dropped == len(_OTHERS) + _FLOOD - 90


def test_a_new_tail_begins_with_others_too_and_nothing_is_said_to_be_dropped() -> None:
    store = Store()
    store.tail = flooded()
    (event,) = TailFeed(store, FROM_THE_NEWEST).next_events()
    news = json.loads(event.data)
    assert news["dropped"] == 0
    assert len(news["lines"]) == 200
    assert [line[3] for line in news["lines"][:50]] == _OTHERS
