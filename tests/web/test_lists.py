"""The list of devices and the tail: what a filter finds and counts, when a line is of, and what a phone shows."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from harness.wait import wait_until
from tests.support.web import OFFLINE, RunningPage, condition, deployment, device, workload
from tests.web.inspection import COUNTED_NEWS, CUT, on_a_phone, open_screen, resize
from tests.web.test_browser import sign_in

Open = Callable[[str], Page]
CUT_BELOW = """() => [...document.querySelectorAll('#body td, #body tr')]
    .filter((one) => one.checkVisibility() && one.scrollHeight > one.clientHeight + 1)
    .map((one) => one.outerHTML.slice(0, 200))"""
"""What does not fit into the height that it has."""
CUT_BESIDE = CUT_BELOW.replace("Height", "Width")
REASONS = ("CrashLoop", "ImageNotFound", "NoSpaceOnDevice", "PortInUse")
_DRAWN_LATER = """() => {
    const real = window.setTimeout;
    window.later = [];
    window.setTimeout = (work, ...rest) => work.name === "add" ? window.later.push(work) : real(work, ...rest);
}"""
"""The tail's lines are drawn when the test says so."""


@pytest.fixture
def visit(browser: Browser, page: RunningPage) -> Iterator[Open]:
    """Opens a screen for somebody who is signed in, and waits until it is live."""
    found = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 800})
    found.add_init_script(COUNTED_NEWS)
    sign_in(found, page)
    yield functools.partial(open_screen, found, page)
    found.close()


def test_what_a_group_does_not_name_is_listed_and_nothing_else(page: RunningPage, visit: Open) -> None:
    """Neither a site whose name begins alike, nor a device that was revoked, which has the same reason."""
    revoked = device("x-99", OFFLINE, site="x")
    revoked["spec"]["revoked"] = True
    page.show(*(device(f"{site}-{n:02}", OFFLINE, site=site) for site in ("x", "x-2") for n in range(14)), revoked)
    tab = visit("/")
    tab.get_by_text("and 2 more").first.click()
    expect(tab.locator("#count")).to_have_text("14 of 29 devices")
    expect(tab.locator("#q")).to_have_value(re.compile('^"HeartbeatMissed" "site=x(-2)?"$'))
    tab.locator("#q").fill('"site=x" "x-9')
    expect(tab.locator("#count")).to_have_text("0 of 29 devices")
    tab.locator("#show").select_option("")
    tab.locator("#q").fill('"site=x" x-9')
    expect(tab.locator("#count")).to_have_text("1 of 29 devices")


def test_the_rest_of_a_group_without_a_site_are_those_without_one(page: RunningPage, visit: Open) -> None:
    """And not those of all sites that have the same reason. A label without a value is no site either."""
    homeless = [device(f"h-{n:02}", OFFLINE) for n in range(13)]
    homeless[0]["metadata"]["labels"]["site"] = ""
    page.show(*homeless, *(device(f"x-{n:02}", OFFLINE, site="x") for n in range(14)))
    tab = visit("/")
    rest = tab.locator(".group", has_text="h-05").get_by_text("and 1 more")
    rest.click()
    expect(tab.locator("#count")).to_have_text("13 of 27 devices")
    expect(tab.locator("#q")).to_have_value('"HeartbeatMissed" "no site"')
    tab.locator("#q").fill('"site=x" "no site"')
    expect(tab.locator("#count")).to_have_text("0 of 27 devices")


@pytest.mark.parametrize("width", [768, 1024, 1180, 1194])
def test_on_a_tablet_the_deployments_are_seen_whole(page: RunningPage, visit: Open, width: int) -> None:
    """Upright, and on its side: nothing scrolls sideways."""
    long = deployment("sensor-collector-of-the-cellar", condition("Ready", "False", "DevicesFailed", "pi-3: CrashLoop"))
    long["spec"]["workload"]["image"] = "registry.example.org/laboratory/sensor-collector:2026.11.30"
    page.show(device("pi-1"), deployments=(long, deployment("web", condition("Ready", "True", "ReadyWhenLastHeard"))))
    tab = visit("/deployments")
    resize(tab, width, 800)
    assert tab.evaluate(CUT) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", ["/deployments", "/devices/pi-1"])
def test_on_a_desk_a_name_without_a_dash_leaves_room_for_what_is_wrong(
    page: RunningPage, visit: Open, path: str
) -> None:
    """The longest that there may be: the columns beside it stood out of sight."""
    name = "d" * 63
    wrong = workload(name, "Failed", "CrashLoop", "exit code 1: cannot open /dev/ttyUSB0")
    failed = condition("Ready", "False", "DevicesFailed", "pi-1: CrashLoop")
    page.show(device("pi-1", workloads=[wrong]), deployments=(deployment(name, failed),))
    tab = visit(path)
    resize(tab, 1280, 800)
    assert tab.evaluate(CUT) == []


def test_on_a_desk_a_short_name_is_not_broken_beside_a_long_image(page: RunningPage, visit: Open) -> None:
    crash = {**workload("thermometer", "Restarting", "CrashLoop", "exit code 1"), "image": f"sha256:{'a' * 64}"}
    page.show(device("pi-1", workloads=[crash]))
    name = visit("/devices/pi-1").locator("#w-thermometer")
    assert name.evaluate("(one) => one.offsetHeight < 1.5 * parseFloat(getComputedStyle(one).lineHeight)")


def test_on_a_phone_the_list_says_since_when_a_device_is_in_trouble_and_all_that_is_wrong(
    page: RunningPage, visit: Open
) -> None:
    """As far as there is room, and how many further reasons there are."""
    wrong = [workload(f"w{number}", "Failed", reason) for number, reason in enumerate(REASONS)]
    page.show(device("pi-1", OFFLINE, workloads=wrong), device("pi-2", OFFLINE, workloads=wrong[:2]), device("pi-3"))
    tab = visit("/devices")
    resize(tab, 375, 740)
    told = tab.locator("#body tr.bad-row td:nth-child(7)")
    age = r"HeartbeatMissed for \d+ (s|min|h|d)"
    expect(told.first).to_have_text(re.compile(f"^{age}, CrashLoop, ImageNotFound and 2 more$"))
    expect(told.last).to_have_text(re.compile(f"^{age}, CrashLoop, ImageNotFound$"))
    expect(told).to_have_count(2)
    assert tab.evaluate(CUT_BELOW) == [], "nothing is cut off at the bottom of a row"
    on_a_phone(tab, "devices in trouble")
    resize(tab, 1000, 800)
    expect(told.first).to_be_visible()
    assert tab.evaluate(CUT_BESIDE) == [], "nor at the side of one on a tablet"
    resize(tab, 1200, 800)
    expect(told.first.locator("time")).to_be_hidden()
    assert told.first.inner_text().startswith("HeartbeatMissed, CrashLoop"), "no gap is left where the time was"
    expect(told.first).to_have_attribute("title", ", ".join(("HeartbeatMissed", *REASONS)))


def test_on_a_phone_rows_stand_where_the_arrows_and_the_scrolling_look_for_them(page: RunningPage, visit: Open) -> None:
    """Those of devices in trouble are higher."""
    page.show(*(device(f"a-{n:02}", OFFLINE) for n in range(30)), *(device(f"b-{n:03}") for n in range(270)))
    tab = visit("/devices")
    expect(tab.locator("#count")).to_have_text("300 of 300 devices")
    resize(tab, 375, 740)
    tab.evaluate("document.getElementById('scroll').scrollTop = 1e9")
    expect(tab.locator("#row-b-269")).to_be_in_viewport()
    assert tab.locator("#body tr").count() < 60
    tab.evaluate("document.getElementById('scroll').scrollTop = 29 * 88 + 60")
    expect(tab.locator("#row-b-000")).to_be_in_viewport()
    tab.locator("#row-b-002").focus()
    for name in ("b-001", "b-000", "a-29", "a-28", "a-27"):
        tab.keyboard.press("ArrowUp")
        expect(tab.locator(f"#row-{name}")).to_be_focused()
        expect(tab.locator(f"#row-{name}")).to_be_in_viewport()


def test_a_command_on_a_phone_is_not_broken_inside_an_option(page: RunningPage, visit: Open) -> None:
    """Who types it from there would else put a space into `--deployment`; what is copied by hand has none either."""
    page.show(device("a-device-1", workloads=[workload("sensor", "Restarting", "CrashLoop")]))
    tab = visit("/devices/a-device-1")
    resize(tab, 375, 740)
    command = tab.locator(".command code").first
    assert command.evaluate("(one) => one.getClientRects()[0].height > 40"), "it takes more than one line"
    unbroken = "(one) => [...one.children].every((word) => word.getClientRects().length === 1)"
    assert command.evaluate(unbroken)
    command.evaluate("(one) => getSelection().selectAllChildren(one)")
    assert tab.evaluate("getSelection().toString()") == "fleet device logs a-device-1 --deployment sensor"


def test_the_tail_counts_what_its_label_says(page: RunningPage, visit: Open) -> None:
    """A filter looks at what one reads, and at no number or time that stands behind it."""
    page.show(device("pi-1"))
    known = page.parts.store
    at = time.time() - 3 * 86_400

    def tell(*texts: str) -> None:
        page.do(lambda: [known.tail.add(at, "device-state", "pi-1", text) for text in texts])
        page.do(known.discard_reports)

    tell(*(f"old {number}" for number in range(150)))
    tab = visit("/tail?q=old+14")
    count = tab.locator("#count")
    expect(count).to_have_text("12 of 150 changes")
    tab.locator("#q").fill(str(int(at))[:6])
    expect(count).to_have_text("0 of 150 changes")
    expect(tab.locator("#none")).to_have_text("No change matches the filter.")
    tab.locator("#q").fill("pi-1 STATE 149")
    expect(count).to_have_text("1 of 150 changes")
    expect(tab.locator("#none")).to_be_hidden()
    tab.locator("#pause").click()
    expect(count).to_have_text("1 of 150 changes, paused")
    tell("new 1", "new 2", "new 149")
    expect(count).to_have_text("2 of 153 changes, paused, 1 new")
    tab.locator("#pause").click()
    tab.locator("#q").fill("")
    expect(count).to_have_text("153 changes")
    for number in range(4):
        tell(*(f"more {number * 250 + more}" for more in range(250)))
        shown = 153 + 250 * (number + 1)
        expect(count).to_have_text(f"{shown} changes" if shown < 1000 else "1000 changes (153 older ones are not kept)")
    day = tab.evaluate("(at) => new Date(at * 1000).getDate()", at)
    expect(tab.locator("#lines li").last).to_have_text(re.compile(rf"\b{day}\b.*more 999$"))


def test_what_came_just_before_a_pause_does_not_move_the_tail(page: RunningPage, visit: Open) -> None:
    """It was to be drawn a moment later. It counts as new, and is there when the tail goes on."""
    tab = visit("/tail")
    tab.evaluate(_DRAWN_LATER)
    page.do(lambda: page.parts.store.add_invalid_message("device-info", "pi-1", "just before"))
    wait_until(lambda: tab.evaluate("later.length"), "it has come", timeout=60)
    tab.locator("#pause").click()
    expect(tab.locator("#count")).to_contain_text("paused")
    before = tab.locator("#lines li").all_inner_texts()
    tab.evaluate("later.forEach((work) => work())")
    assert tab.locator("#lines li").all_inner_texts() == before
    expect(tab.locator("#count")).to_contain_text("1 new")
    tab.locator("#pause").click()
    expect(tab.locator("#lines li").last).to_contain_text("just before")
