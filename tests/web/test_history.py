"""What happened to a device is not lost by what happens to others, nor by an outage."""

from __future__ import annotations

import html
import re

import httpx

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
    page.do(lambda: [page.parts.store.heard_badly("device-info", "pi-2", f"line {n}") for n in range(5_000)])
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
