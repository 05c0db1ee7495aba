"""Somebody uses a page while it changes: nothing that they do or read is lost, and nobody is told what is not so."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from harness.probes.browser import go
from harness.wait import wait_until
from tests.support.web import OFFLINE, RunningPage, condition, deployment, device, workload
from tests.web.inspection import COUNTED_NEWS, open_screen
from tests.web.test_browser import sign_in

CRASH = workload("sensor", "Restarting", "CrashLoop", "exit code 1")
FAILED = condition("Ready", "False", "DevicesFailed", "pi-3: CrashLoop")
COUNTED_CHANGES = """
    const Counted = window.EventSource;
    window.changes = 0;
    window.EventSource = class extends Counted {
        constructor(url) {
            super(url);
            for (const name of ["screen", "rows"]) this.addEventListener(name, () => { window.changes++; });
        }
    };
"""
HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""Another tab is looked at, or this one again."""
TOLD = """() => {
    window.said = 0;
    const count = new MutationObserver((all) => { window.said += all.length; });
    for (const one of document.querySelectorAll('[role=status]:not([aria-live=off]), output:not([aria-live=off])')) {
        count.observe(one, { childList: true, characterData: true, subtree: true });
    }
}"""
"""Counts what a screen reader is told."""


@pytest.fixture
def context(browser: Browser, page: RunningPage) -> Iterator[BrowserContext]:
    """Of somebody who is signed in to a page of a fleet in which something is wrong."""
    page.show(
        device("pi-1", site="berlin"),
        device("pi-2", OFFLINE, site="berlin"),
        device("pi-3", site="oslo", deployments=1, workloads=[CRASH]),
        deployments=(deployment("sensor", FAILED, failed=1),),
    )
    found = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 800})
    found.add_init_script(COUNTED_NEWS)
    found.add_init_script(COUNTED_CHANGES)
    sign_in(found, page)
    yield found
    found.close()


@pytest.fixture
def visit(context: BrowserContext, page: RunningPage) -> Callable[[str], Page]:
    """Opens a screen, and waits until it is live."""

    return functools.partial(open_screen, context, page)


def hold_long(asked: Route) -> None:
    """Serve the script with a longest press of five minutes."""
    answer = asked.fetch()
    script = re.sub(r"LONGEST_PRESS = \d+;", "LONGEST_PRESS = 300000;", answer.text())
    assert script != answer.text()
    asked.fulfill(response=answer, body=script)


@pytest.mark.parametrize(
    ("path", "link", "seen"),
    [
        ("/", ".members a[href='/devices/pi-2']", "NeverSeen"),
        ("/devices", "#row-pi-1", "NeverSeen"),
        ("/deployments", "#d-sensor", "NotReported"),
    ],
)
def test_a_click_during_which_the_screen_changes_is_not_lost(
    page: RunningPage, context: BrowserContext, visit: Callable[[str], Page], path: str, link: str, seen: str
) -> None:
    context.route("**/static/live.js", hold_long)  # the news may take longer than a press may hold them back
    tab = visit(path)
    context.unroute("**/static/live.js")
    box = tab.locator(link).bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    before = tab.evaluate("window.changes")
    tab.mouse.down()
    page.change("Device", device("pi-9", condition("Online", "Unknown", "NeverSeen"), version=2))
    page.change("FleetDeployment", deployment("sensor", condition("Ready", "False", "NotReported"), version=2))
    wait_until(lambda: tab.evaluate("window.changes") > before, "the news have come", timeout=30)
    shown_meanwhile = seen in tab.locator("main").inner_text()
    tab.mouse.up()
    assert not shown_meanwhile
    expect(tab.locator(".crumbs")).to_be_visible()


def test_a_press_that_never_ends_holds_nothing_back(page: RunningPage, visit: Callable[[str], Page]) -> None:
    tab = visit("/")
    tab.mouse.move(5, 300)
    tab.mouse.down()
    page.change("Device", device("pi-9", condition("Online", "Unknown", "NeverSeen"), version=2))
    expect(tab.locator("main")).to_contain_text("NeverSeen")


def test_a_table_keeps_the_focus(page: RunningPage, visit: Callable[[str], Page]) -> None:
    """Who scrolls it by the keyboard would begin again at the top of the page."""
    tab = visit("/devices/pi-3")
    table = tab.get_by_label("Table of conditions")
    table.focus()
    page.change("Device", device("pi-3", OFFLINE, site="oslo", version=2))
    expect(tab.locator("main")).to_contain_text("HeartbeatMissed")
    expect(table).to_be_focused()


@pytest.mark.parametrize(
    "what", ["[data-copy='fleet device logs pi-3 --deployment sensor']", ".members a[href='/devices/pi-3']"]
)
def test_what_has_the_focus_keeps_it_when_something_comes_before_it(
    page: RunningPage, visit: Callable[[str], Page], what: str
) -> None:
    """Or Enter would copy the command for another device."""
    tab = visit("/")
    focused = tab.locator(what).first
    focused.focus()
    newer = condition("Online", "Unknown", "NeverSeen", since="2026-11-29T12:30:00Z")
    page.change("Device", device("pi-1", newer, site="berlin", version=2))
    expect(tab.locator("main h3").first).to_contain_text("NeverSeen")
    expect(focused).to_be_focused()


def test_a_page_that_is_refused_does_not_say_that_the_server_is_away(
    page: RunningPage, context: BrowserContext, visit: Callable[[str], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.web.streams._PER_SESSION", 1)
    first = visit("/")
    tab = context.new_page()
    go(tab, page.url)
    banner = tab.locator("#banner")
    expect(banner).to_contain_text(re.compile(r"This page does not follow changes for \d+ s: 1 pages of this sign-in"))
    expect(banner).not_to_contain_text("does not answer")
    first.close()
    expect(banner).to_be_empty()


def test_a_device_that_went_while_its_tab_was_hidden_is_no_reason_to_sign_in(
    page: RunningPage, visit: Callable[[str], Page]
) -> None:
    page.show(device("pi-1"), device("pi-2"))
    tab = visit("/devices/pi-1")
    tab.evaluate(HIDDEN, True)
    wait_until(lambda: page.do(lambda: page.parts.streams.open), "the stream rests", timeout=30, until=lambda n: n == 0)
    page.change("Device", device("pi-1"), deleted=True)
    tab.evaluate(HIDDEN, False)
    banner = tab.locator("#banner")
    expect(banner).to_contain_text("This is no longer there.")
    expect(banner).not_to_contain_text("Sign in")
    banner.locator("a").click()
    expect(tab.locator("h1")).to_have_text("Devices")


def test_a_list_of_before_a_restart_of_the_server_loses_what_went_meanwhile(
    page: RunningPage, visit: Callable[[str], Page]
) -> None:
    """Its tab was hidden, and somebody has signed in anew in another one."""
    page.show(device("pi-1"), device("pi-2"))
    tab = visit("/devices")
    expect(tab.locator("#count")).to_have_text("2 of 2 devices")
    tab.evaluate(HIDDEN, True)
    wait_until(lambda: page.do(lambda: page.parts.streams.open), "the stream rests", timeout=30, until=lambda n: n == 0)
    page.change("Device", device("pi-1"), deleted=True)
    page.do(lambda: vars(page.parts.store.versions)["_rows"].pop("pi-1"))
    page.parts.streams.epoch = "another"
    page.change("Device", device("pi-3", OFFLINE, version=2))
    tab.evaluate(HIDDEN, False)
    expect(tab.locator("#row-pi-3")).to_be_visible()
    expect(tab.locator("#row-pi-1")).to_have_count(0)
    expect(tab.locator("#count")).to_have_text("2 of 2 devices")


@pytest.mark.parametrize("signed_in", [True, False])
def test_a_link_on_another_site_leads_to_the_screen(
    page: RunningPage, browser: Browser, context: BrowserContext, *, signed_in: bool
) -> None:
    """Somebody was sent it, and reads that message in a browser: a strict cookie does not come along."""
    who = context if signed_in else browser.new_context(ignore_https_errors=True)
    link = f'<a href="{page.url}/devices?q=pi-2">look</a>'
    who.route("https://chat.example/", lambda asked: asked.fulfill(body=link, content_type="text/html"))
    tab = who.new_page()
    tab.goto("https://chat.example/")
    tab.locator("a").click()
    expect(tab.locator("h1")).to_have_text("Devices" if signed_in else "Sign in")
    if signed_in:
        expect(tab.locator("#count")).to_have_text("1 of 3 devices")
    else:
        assert "to=%2Fdevices%3Fq%3Dpi-2" in tab.url
        who.close()


def test_a_clock_that_is_wrong_makes_no_other_ages(
    page: RunningPage, browser: Browser, context: BrowserContext
) -> None:
    """The browser's is 10 minutes behind: what just changed did not change in the future."""
    page.do(lambda: page.parts.store.tail.add(time.time(), "device-state", "pi-1", "web Running"))
    tab = context.new_page()
    tab.clock.install(time=time.time() - 600)
    go(tab, page.url)
    age = tab.get_by_label("Table of changes").locator("time").first
    expect(age).to_contain_text(" s ago")


def test_who_comes_back_from_a_device_finds_the_list_where_it_was(
    page: RunningPage, visit: Callable[[str], Page]
) -> None:
    page.show(*(device(f"d-{number:04}") for number in range(2_000)))
    tab = visit("/devices")
    expect(tab.locator("#row-d-0000")).to_be_visible()
    tab.evaluate("document.getElementById('scroll').scrollTop = 36 * 1500")
    kept = "history.state !== null && history.state.top === 36 * 1500"
    wait_until(lambda: tab.evaluate(kept), "the place is kept", timeout=30)
    tab.locator("#row-d-1505").click()
    expect(tab.locator("h1")).to_contain_text("d-1505")
    tab.go_back()
    expect(tab.locator("#row-d-1505")).to_be_in_viewport()


def test_a_list_that_did_not_come_is_asked_for_again(page: RunningPage, context: BrowserContext) -> None:
    tab = context.new_page()
    tab.route("**/devices.json", lambda asked: asked.abort())
    go(tab, f"{page.url}/devices")
    expect(tab.locator("#count")).to_have_text("the list could not be loaded; it is asked for again")
    tab.unroute("**/devices.json")
    expect(tab.locator("#count")).to_have_text("3 of 3 devices")


def test_a_screen_reader_is_told_what_is_new_and_not_each_second_how_old_it_is(
    page: RunningPage, visit: Callable[[str], Page]
) -> None:
    tab = visit("/")
    tab.evaluate(TOLD)
    page.do(lambda: page.parts.store.sources.mark_unavailable("NATS", "the connection is lost"))
    expect(tab.locator("#said")).to_have_text("NATS does not answer: the connection is lost")
    expect(tab.locator("#banner")).to_contain_text(re.compile(r"NATS does not answer for ([3-9]|\d\d) s"))
    assert tab.evaluate("window.said") == 1
