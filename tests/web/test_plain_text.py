"""What nobody would see, or what would turn a line around, is shown as what it is, on every screen."""

from __future__ import annotations

import httpx

from fleet.web.messages import EventMessage
from fleet.web.source import NATS
from tests.support.web import INFO, Json, RunningPage, condition, deployment, device, workload

EVIL = "a\x1b[31m\u202eb\u2028c\x00d\x9be\u200bf"
SHOWN = "a\\x1b[31m\\u202eb\\u2028c\\x00d\\x9be\\u200bf"
HIDDEN = ("\x1b", "\u202e", "\u2028", "\x00", "\x9b", "\u200b")


def evil_device() -> Json:
    """A device with such a text wherever a status takes one."""
    states = [workload(EVIL, EVIL, EVIL, EVIL), workload("web", "Failed", EVIL, EVIL)]
    states[0] |= {"image": EVIL, "containers": [{"name": EVIL, "phase": EVIL, "reason": EVIL}]}
    item = device(
        "pi-1",
        condition("Online", "False", EVIL, EVIL),
        condition("Quarantined", "True", EVIL, EVIL),
        condition("Upgraded", "False", EVIL, EVIL),
        condition("Odd", "False", EVIL, EVIL),
        workloads=states,
        deployments=9,
        info={**INFO, "os": EVIL, "kernel": EVIL, "engine": EVIL, "arch": EVIL},
    )
    item["spec"]["agentVersion"] = "v9.9.9"
    return item


def test_no_screen_holds_such_a_character(page: RunningPage, viewer: httpx.Client) -> None:
    item = deployment("web", condition("Ready", "False", EVIL, EVIL))
    item["spec"]["workload"]["image"] = EVIL
    item["status"]["conditions"].append(condition("Progressing", "False", EVIL, EVIL))
    page.show(device("pi-1"), deployments=(item,))
    page.change("Device", evil_device())
    page.change("FleetDeployment", item)
    page.do(lambda: page.parts.store.add_event(EventMessage("Device", "pi-1", "Warning", EVIL, EVIL, 1000.0, 3)))
    page.do(lambda: page.parts.store.sources.mark_unavailable(NATS, EVIL))
    page.do(lambda: page.parts.store.add_invalid_message("device-info", EVIL, EVIL))
    for path in ("/", "/devices", "/devices.json", "/devices/pi-1", "/deployments", "/deployments/web", "/tail"):
        answer = viewer.get(path)
        assert answer.status_code == 200, path
        for one in HIDDEN:
            assert one not in answer.text, (path, one)
    for path in ("/", "/devices/pi-1", "/deployments/web"):
        assert SHOWN in viewer.get(path).text, path
    reasons = [row[6] for row in viewer.get("/devices.json").json()["rows"]]
    assert SHOWN in reasons[0]


def test_half_a_character_ends_no_screen(page: RunningPage, viewer: httpx.Client) -> None:
    half = "half\ud800"
    page.show(device("pi-1"))
    page.do(lambda: page.parts.store.add_event(EventMessage("Device", "pi-1", "Warning", half, half, 1000.0, 3)))
    page.do(lambda: page.parts.store.sources.mark_unavailable(NATS, half))
    page.do(lambda: page.parts.store.add_invalid_message("device-info", "pi-1", half))
    for path in ("/", "/devices/pi-1", "/tail"):
        answer = viewer.get(path)
        assert answer.status_code == 200, path
    assert "half\\ud800" in viewer.get("/devices/pi-1").text
    with viewer.stream("GET", "/events/tail") as stream:
        seen = ""
        parts = stream.iter_text()
        while "half" not in seen or "sources" not in seen:
            seen += next(parts)
