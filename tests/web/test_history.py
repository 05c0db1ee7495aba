"""What happened to a device is not lost by what happens to others, nor by an outage."""

from __future__ import annotations

import html
import re
from datetime import datetime

import httpx
import pytest

from fleet.contract.states import DeviceStates
from fleet.web.source import KUBERNETES, NATS, OPERATOR, PROVIDER
from tests.support.web import NOW, OFFLINE, ONLINE, Json, RunningPage, condition, device, workload

LATER = "2026-11-29T12:30:00Z"
LATEST = "2026-11-29T12:45:00Z"


def past(viewer: httpx.Client, name: str = "pi-1") -> str:
    """What its screen says that happened, as text."""
    shown = viewer.get(f"/devices/{name}").text.partition("What happened")[2].partition("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def upgrade(number: int) -> Json:
    """A condition that is another one each time."""
    return condition("Upgraded", "False", "InProgress", f"v0.1.{number}", f"2026-11-29T13:{number % 60:02}:00Z")


def test_what_happens_to_others_costs_a_device_nothing(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"), device("pi-2"))
    page.change("Device", device("pi-1", OFFLINE, version=2))
    page.change("Device", device("pi-1", ONLINE, version=3))
    page.do(lambda: [page.parts.store.add_invalid_message("device-info", "pi-2", f"line {n}") for n in range(5_000)])
    shown = past(viewer)
    assert "Online False (HeartbeatMissed) not heard since 11:58" in shown
    assert shown.count("Online True (HeartbeatReceived)") == 1
    assert past(viewer, "pi-2").count("cannot be read") == 20
    assert "line 4999" in past(viewer, "pi-2")


def test_what_changed_while_kubernetes_was_away_is_told_with_its_own_time(
    page: RunningPage, viewer: httpx.Client
) -> None:
    page.show(device("pi-1"), device("pi-2"), device("pi-3"))
    page.show(
        device("pi-1", condition("Online", "False", "HeartbeatMissed", "not heard", LATER), version=2),
        device("pi-2"),
        device("pi-4", version=2),
    )
    assert "Online False (HeartbeatMissed) not heard" in past(viewer)
    assert f'data-at="{1795955400.0}"' in viewer.get("/devices/pi-1").text.partition("What happened")[2]
    first = viewer.get("/").text.partition("What changed last")[2]
    assert "Online False (HeartbeatMissed)" in first
    for name, said in (("pi-3", "deleted"), ("pi-4", "created")):
        assert re.search(rf">{name}</a></td><td class=\"text\">{said}</td>", first), name
    assert "pi-2" not in first, "nothing happened to it"


def test_the_first_list_is_no_news(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1", OFFLINE))
    assert "Nothing has changed since" in viewer.get("/").text
    assert "Online False (HeartbeatMissed)" in past(viewer), "the status tells of it"


def test_what_a_device_said_while_nats_was_away_is_told_by_its_status(page: RunningPage, viewer: httpx.Client) -> None:
    def said(phase: str, reason: str, since: str) -> Json:
        return {**workload("web", phase, reason), "since": since}

    page.show(device("pi-1", workloads=[said("Running", "Healthy", NOW)]))
    page.change("Device", device("pi-1", version=2, workloads=[said("Failed", "CrashLoop", LATER)]))
    page.change("Device", device("pi-1", OFFLINE, version=3, workloads=[said("Running", "Healthy", LATEST)]))
    shown = past(viewer)
    assert "web Running (Healthy) generation 1" in shown
    assert shown.count("Online False (HeartbeatMissed)") == 1


def test_a_device_that_is_made_anew_has_a_past_of_its_own(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"))
    page.change("Device", device("pi-1", OFFLINE, version=2))
    page.change("Device", device("pi-1", OFFLINE, version=2), deleted=True)
    page.change("Device", device("pi-1", ONLINE, version=3))
    assert "HeartbeatMissed" not in past(viewer)
    assert "created" in past(viewer)


def test_a_fleet_of_any_size_keeps_so_many_lines(page: RunningPage) -> None:
    tail = page.parts.store.tail

    def fill() -> tuple[int, int, int]:
        for number in range(60_000):
            tail.add(0.0, "Device", f"pi-{number}", "line")
        return (
            sum(len(tail.of(f"pi-{number}")) for number in range(60_000)),
            len(tail.of("pi-0")),
            len(tail.of("pi-59999")),
        )

    assert page.do(fill) == (50_000, 0, 1)


def outage(page: RunningPage, source: str, since: str, until: str) -> None:
    """A source answers until `since`, and again at `until` (times of the same day)."""
    sources = page.parts.store.sources
    clock = [0.0]

    def play() -> None:
        vars(sources).update(_now=lambda: clock[0])
        clock[0] = datetime.fromisoformat(f"2026-11-29T{since}Z").timestamp()
        sources.mark_available(source)
        sources.mark_unavailable(source, "the connection is lost")
        clock[0] = datetime.fromisoformat(f"2026-11-29T{until}Z").timestamp()
        sources.mark_available(source)

    page.do(play)


MISSED = "of what changed meanwhile, only the last state is known"


@pytest.mark.parametrize("source", [NATS, KUBERNETES])
def test_an_outage_is_a_gap_in_what_happened_and_says_from_when_to_when(
    page: RunningPage, viewer: httpx.Client, source: str
) -> None:
    healthy, crashed = workload("web", "Running", "Healthy"), workload("web", "Failed", "CrashLoop")
    page.show(device("pi-1", workloads=[{**healthy, "since": NOW}]))
    outage(page, source, "12:10:00", "12:40:00")
    page.change("Device", device("pi-1", version=2, workloads=[{**crashed, "since": LATEST}]))
    gap = f"did not answer from 2026-11-29T12:10:00Z to 2026-11-29T12:40:00Z: {MISSED}"
    shown = past(viewer)
    assert shown.index("web Failed (CrashLoop)") < shown.index(f"{source} {gap}") < shown.index("created")
    assert gap in viewer.get("/").text, "the first screen has it among what changed last"
    line = page.do(lambda: page.parts.store.tail.since(0, 10)[0][0])
    assert (line.source, line.text) == (source, gap), "and the tail"


def test_outages_between_which_nothing_is_known_are_one_gap(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1", OFFLINE))
    for minute in range(10, 16):
        outage(page, NATS, f"12:{minute}:00", f"12:{minute}:30")
    page.show(device("pi-1", condition("Online", "True", "HeartbeatReceived", "", LATER), version=2))
    outage(page, NATS, "12:50:00", "12:50:30")
    shown = past(viewer)
    assert "from 2026-11-29T12:10:00Z to 2026-11-29T12:15:30Z (6 outages)" in shown
    assert "from 2026-11-29T12:50:00Z to 2026-11-29T12:50:30Z: " in shown
    assert shown.count(MISSED) == 2


def test_what_is_no_gap_is_not_called_one(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"))
    outage(page, NATS, "11:10:00", "11:40:00")
    outage(page, PROVIDER, "12:10:00", "12:40:00")
    outage(page, OPERATOR, "12:10:00", "12:40:00")
    assert "did not answer" not in past(viewer), "before it was made, and of what tells of no device"


def test_a_gap_begins_with_the_last_that_was_heard(page: RunningPage) -> None:
    sources = page.parts.store.sources

    def play() -> float:
        vars(sources).update(_now=lambda: 1000.0)
        sources.mark_available(NATS)
        vars(sources).update(_now=lambda: 1005.0)
        page.parts.store.add_invalid_message("device-info", "pi-1", "too long")
        sources.mark_unavailable(NATS, "the connection is lost")
        vars(sources).update(_now=lambda: 1060.0)
        page.parts.store.update_states("pi-1", DeviceStates(states={}))
        sources.mark_available(NATS)
        return sources.gaps[-1].since

    assert page.do(play) == 1005.0
