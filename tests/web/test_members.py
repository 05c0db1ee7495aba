"""The devices of a deployment in one state: all of them, by pages, and as they change."""

from __future__ import annotations

import html
import re

import httpx
import pytest
from playwright.sync_api import Browser, expect

from fleet.contract.states import gathered
from fleet.contract.wire import DeviceState, Phase, Reason
from tests.support.web import Json, RunningPage, condition, deployment, device, workload
from tests.web.inspection import COUNTED_NEWS, inspect, open_screen
from tests.web.test_browser import sign_in

_HERE = "/deployments/web/devices?state=Pending"
_NAMES = [f"pi-{number:03}" for number in range(450)]


def _item() -> Json:
    found = deployment("web", condition("Ready", "False", "InProgress"))
    found["spec"]["selector"] = {}
    return found


def _listed(text: str) -> list[str]:
    return re.findall(r'id="s-([^"]+)"', text)


def _link(text: str, name: str) -> str:
    found = re.search(rf'id="{name}" href="([^"]+)"', text)
    return html.unescape(found[1]) if found else ""


def test_every_device_of_a_state_is_found_from_the_screen_of_the_deployment(
    page: RunningPage, viewer: httpx.Client
) -> None:
    page.show(*map(device, _NAMES), deployments=(_item(),))
    first = viewer.get("/deployments/web").text
    assert "and 400 more" in first
    assert _link(first, "more-Pending") == _HERE
    pages, here = list[str](), _HERE
    while here:
        pages.append(viewer.get(here).text)
        here = _link(pages[-1], "page-after")
    assert ([name for text in pages for name in _listed(text)], len(pages)) == (_NAMES, 3)
    last = pages[-1]
    assert "401 to 450 of 450, by name." in last
    assert (_link(last, "page-before"), _link(last, "page-first")) == (f"{_HERE}&from=pi-200", _HERE)
    assert "page-before" not in viewer.get(_HERE).text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("state=Pending&from=pi-449x", ["pi-449"]),
        ("state=Pending&from=zzz", ["pi-449"]),
        ("state=Pending&from=%ff%00", ["pi-449"]),
        ("state=Pending&state=Running&from=a&from=pi-448", ["pi-448", "pi-449"]),
        ("state=Pending&from=pi-4485", ["pi-449"]),
        ("state=%3Cb%3Ebold", []),
        ("state=", []),
        ("", []),
    ],
)
def test_whatever_is_asked_for_gets_what_is_there(
    page: RunningPage, viewer: httpx.Client, query: str, shown: list[str]
) -> None:
    states = {"pi-448", "pi-449"} if "Running" in query else set[str]()
    runs = [workload("web", "Running", "Healthy")]
    page.show(*(device(name, workloads=runs if name in states else []) for name in _NAMES), deployments=(_item(),))
    answer = viewer.get(f"/deployments/web/devices?{query}")
    assert (answer.status_code, _listed(answer.text)) == (200, shown)
    assert ("No device is in this state now." in answer.text) is not bool(shown)
    assert "bold" not in answer.text.partition("<main")[2], "an address puts no words on the screen"
    gone = viewer.get(f"/deployments/none/devices?{query}")
    assert (gone.status_code, "there is no deployment none" in gone.text) == (404, True)
    assert viewer.head(f"/events/members/none?{query}").status_code == 404
    assert viewer.head("/events/members").status_code == 404


def test_the_devices_of_a_state_are_shown_as_they_change(browser: Browser, page: RunningPage) -> None:
    page.show(*map(device, _NAMES[:300]), deployments=(_item(),))
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 800})
    context.add_init_script(COUNTED_NEWS)
    sign_in(context, page)
    tab = open_screen(context, page, "/deployments/web")
    tab.get_by_text("and 250 more").click()
    expect(tab.locator("main")).to_contain_text("1 to 200 of 300")
    tab.get_by_text("Next", exact=True).click()
    expect(tab.locator("main")).to_contain_text("201 to 300 of 300")
    running = gathered({"web": DeviceState(1, Phase.RUNNING, Reason.HEALTHY)})
    for name in _NAMES[:298]:
        page.do(lambda name=name: page.parts.store.update_states(name, running))
    expect(tab.locator("main")).to_contain_text("1 to 2 of 2")
    inspect(tab, "devices of a state")
    for name in _NAMES[298:300]:
        page.do(lambda name=name: page.parts.store.update_states(name, running))
    expect(tab.locator("main")).to_contain_text("No device is in this state now.")
    tab.get_by_text("See all states").click()
    expect(tab.locator("main")).to_contain_text("300")
    context.close()
