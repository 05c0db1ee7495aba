"""Events of Kubernetes on the screens of their objects, as the operator hands them on."""

from __future__ import annotations

import httpx

from fleet.web.messages import EventMessage
from tests.support.web import ONLINE, RunningPage, condition, deployment, device


def event(name: str, reason: str, message: str = "", *, kind: str = "Device", last: float = 1000.0) -> EventMessage:
    return EventMessage(kind, name, "Warning", reason, message, last, 3)


def tell(page: RunningPage, *events: EventMessage) -> None:
    page.do(lambda: [page.parts.store.add_event(one) for one in events])


def test_a_screen_shows_the_events_of_its_object_the_newest_first(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"), device("pi-2"), deployments=(deployment("web", condition("Ready", "True", "AllReady")),))
    assert "<code>kubectl describe</code> shows what Kubernetes still has" in viewer.get("/devices/pi-1").text
    tell(
        page,
        event("pi-1", "HeartbeatMissed", "not heard since 11:58"),
        event("pi-2", "Flooding"),
        event("web", "DevicesFailed", "pi-2: CrashLoop", kind="FleetDeployment"),
        event("pi-1", "HeartbeatReceived", last=2000.0),
    )
    shown = viewer.get("/devices/pi-1").text
    missed = '<td>HeartbeatMissed</td><td data-label="count">3</td>'
    assert shown.index("<td>HeartbeatReceived</td>") < shown.index(missed)
    assert 'data-at="1000.0"' in shown
    assert "not heard since 11:58" in shown
    assert "Flooding" not in shown
    assert "pi-2: CrashLoop" in viewer.get("/deployments/web").text


def test_an_event_that_came_before_its_device_is_kept(page: RunningPage, viewer: httpx.Client) -> None:
    tell(page, event("pi-1", "HeartbeatMissed"))
    page.show(device("pi-1"))
    assert "<td>HeartbeatMissed</td>" in viewer.get("/devices/pi-1").text


def test_only_so_many_are_kept_and_shown(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1", ONLINE))
    tell(page, *(event("pi-1", f"Reason{number}", last=float(number)) for number in range(3_000)))
    shown = viewer.get("/devices/pi-1").text
    assert shown.count("<td>Reason") == 20
    assert "Reason2999" in shown
    assert page.do(lambda: len(page.parts.store.events)) == 2_000


def test_markup_and_escapes_in_an_event_are_text(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"))
    tell(page, event("pi-1", "<b>Bold</b>", "<script>alert(1)</script>\x1b[31mred"))
    shown = viewer.get("/devices/pi-1").text
    assert "<script>alert" not in shown
    assert "<b>Bold" not in shown
    assert "\x1b" not in shown
