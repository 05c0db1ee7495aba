"""What stands between a browser and the page, and does streams no good: the page says so, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from harness.probes.browser import attach, go
from harness.wait import wait_until
from tests.support.tls import Tls
from tests.support.web import OFFLINE, RunningPage, device
from tests.web.proxy import Proxy
from tests.web.test_browser import sign_in


@pytest.fixture
def proxy(page: RunningPage, tls: Tls) -> Iterator[Proxy]:
    """A proxy before a page that knows one device."""
    page.show(device("pi-1"))
    made = Proxy(page.url, tls)
    yield made
    made.close()


@pytest.fixture
def context(browser: Browser, page: RunningPage, proxy: Proxy) -> Iterator[BrowserContext]:
    """Of somebody who is signed in, by way of the proxy."""
    found = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 800})
    sign_in(found, page, proxy.url)
    yield found
    found.close()


def opened(context: BrowserContext, url: str) -> Page:
    tab = context.new_page()
    go(tab, url)
    return tab


def test_a_proxy_that_cuts_streams_loses_nothing(page: RunningPage, proxy: Proxy, context: BrowserContext) -> None:
    proxy.cut = 1.5
    known = page.parts.store
    tab = opened(context, f"{proxy.url}/tail")
    for number in range(4):
        before = len(proxy.begun)
        page.do(lambda number=number: known.add_invalid_message("device-info", "pi-1", f"line {number} "))
        expect(tab.locator("#lines li", has_text=f"line {number} ")).to_have_count(1)
        wait_until(lambda before=before: len(proxy.begun) > before, "the stream is cut, and begun anew", timeout=60)
    shown = tab.locator("#lines li").all_inner_texts()
    assert [one.count("line") for one in shown] == [1, 1, 1, 1], "each once, in order"
    assert [one.split("line ")[1][0] for one in shown] == ["0", "1", "2", "3"]
    assert all("last-event-id: " in one or "?after=" in one for one in proxy.begun[1:]), "each goes on where it was"


def test_a_list_behind_a_proxy_that_cuts_is_told_what_changed_in_between(
    page: RunningPage, proxy: Proxy, context: BrowserContext
) -> None:
    proxy.cut = 1.5
    page.show(device("pi-1"), device("pi-2"), device("pi-3"))
    tab = opened(context, f"{proxy.url}/devices")
    expect(tab.locator("#count")).to_have_text("3 of 3 devices")
    before = len(proxy.begun)
    page.change("Device", device("pi-2", OFFLINE, version=2))
    page.change("Device", device("pi-1"), deleted=True)
    wait_until(lambda: len(proxy.begun) > before, "the stream is cut, and begun anew", timeout=60)
    page.change("Device", device("pi-4", OFFLINE, version=3))
    expect(tab.locator("#count")).to_have_text("3 of 3 devices")
    expect(tab.locator("#row-pi-4")).to_be_visible()
    expect(tab.locator("#row-pi-1")).to_have_count(0)
    expect(tab.locator(".bad-row")).to_have_count(2)


def test_a_proxy_that_holds_streams_back_is_said_to(page: RunningPage, proxy: Proxy, context: BrowserContext) -> None:
    page.do(lambda: setattr(page.parts.streams, "keepalive_interval", 0.5))
    tab = opened(context, proxy.url)
    expect(tab.locator("#live")).to_contain_text("live")
    proxy.holds = True
    page.change("Device", device("pi-1", OFFLINE, version=2))
    expect(tab.locator("#banner")).to_contain_text("a proxy on the way holds it back")
    expect(tab.locator("#live")).to_have_text("reconnecting")
    assert "Nothing is wrong" in tab.locator("main").inner_text()
    attach(tab, "a proxy holds news back")
    proxy.holds = False
    expect(tab.locator("main")).to_contain_text("HeartbeatMissed")
    expect(tab.locator("#banner")).to_be_empty()
    expect(tab.locator("#live")).to_contain_text("live")


_COUNTED = """
    const Real = window.EventSource;
    window.keepalives = 0;
    window.EventSource = class extends Real {
        constructor(url) { super(url); this.addEventListener("keepalive", () => { window.keepalives++; }); }
    };
"""


def test_a_quiet_fleet_behind_a_good_proxy_stays_live(page: RunningPage, proxy: Proxy, context: BrowserContext) -> None:
    """The server says that it lives, so silence is never taken for an outage."""
    page.do(lambda: setattr(page.parts.streams, "keepalive_interval", 5.0))
    context.add_init_script(_COUNTED)
    tab = opened(context, proxy.url)
    wait_until(
        lambda: tab.evaluate("window.keepalives"), "more keepalives than a page waits for", timeout=60, until=_enough
    )
    expect(tab.locator("#live")).to_contain_text("live")
    expect(tab.locator("#banner")).to_be_empty()
    assert len(proxy.begun) == 1, "it never began anew"


def _enough(keepalives: int) -> bool:
    return keepalives >= 4
