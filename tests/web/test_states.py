"""States that a screen may be in beside the usual one: empty, loading, stale, refused, gone, ended, and signing in."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from fleet.web.source import CALLOUT, KUBERNETES, NATS, OPERATOR, PROVIDER
from harness.probes.browser import go, press
from harness.processes.ports import free_port
from tests.doubles.zitadel.idp import double_at
from tests.support.tls import Tls
from tests.support.web import OFFLINE, RunningPage, condition, deployment, device, workload
from tests.web.inspection import COUNTED_NEWS, inspect, on_a_phone, open_screen
from tests.web.test_browser import sign_in
from tests.web.user import User

SCREENS = ("/", "/devices", "/deployments", "/tail")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Of nobody yet."""
    found = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 800})
    found.add_init_script(COUNTED_NEWS)
    yield found
    found.close()


@pytest.fixture
def visit(page: RunningPage, context: BrowserContext) -> Callable[[str], Page]:
    """Opens a screen for somebody who is signed in, and waits until nothing more comes by itself."""
    sign_in(context, page)

    return functools.partial(open_screen, context, page)


@pytest.mark.parametrize("path", SCREENS)
def test_before_anything_is_known_a_screen_says_that_it_loads(visit: Callable[[str], Page], path: str) -> None:
    tab = visit(path)
    words = {"/": "Loading", "/devices": "Loading", "/deployments": "Loading", "/tail": "waiting for the first"}
    expect(tab.locator("main")).to_contain_text(words[path])
    expect(tab.locator("main")).not_to_contain_text("Nothing is wrong")
    inspect(tab, f"{path} loading")


def test_a_list_that_has_loaded_and_is_empty_says_so_without_a_reload(
    page: RunningPage, visit: Callable[[str], Page]
) -> None:
    tab = visit("/devices")
    expect(tab.locator("#none")).to_contain_text("Loading")
    page.show()
    expect(tab.locator("#none")).to_contain_text("There are no devices yet")


def test_half_a_character_in_the_tails_filter_is_no_end_of_it(page: RunningPage, visit: Callable[[str], Page]) -> None:
    tab = visit("/tail")
    tab.locator("#q").evaluate("(q) => { q.value = '\\ud800'; q.dispatchEvent(new Event('input')); }")
    page.change("Device", device("pi-1", OFFLINE))
    expect(tab.locator("#count")).to_contain_text("1 change")
    expect(tab.locator("#lines li")).to_have_count(0)
    assert tab.evaluate("location.search") == "?q=%EF%BF%BD"


@pytest.mark.parametrize("path", SCREENS)
def test_an_empty_fleet_says_what_brings_the_first_device_in(
    page: RunningPage, visit: Callable[[str], Page], path: str
) -> None:
    page.show()
    tab = visit(path)
    words = {
        "/": "fleet device enroll",
        "/devices": "fleet device enroll",
        "/deployments": "fleet deployment apply",
        "/tail": "waiting for the first",
    }
    expect(tab.locator("main")).to_contain_text(words[path])
    inspect(tab, f"{path} empty")


@pytest.mark.parametrize("path", [*SCREENS, "/devices/pi-1", "/deployments/web"])
def test_what_is_old_is_said_to_be(page: RunningPage, visit: Callable[[str], Page], path: str) -> None:
    """Two parts are away at once, and what was known before stays."""
    page.show(device("pi-1", OFFLINE), deployments=(deployment("web", condition("Ready", "True", "AllReady")),))
    page.do(lambda: page.parts.store.sources.mark_unavailable(KUBERNETES, "the API server does not answer"))
    page.do(lambda: page.parts.store.sources.mark_unavailable(NATS, "the connection is lost"))
    tab = visit(path)
    expect(tab.locator("#banner")).to_contain_text("NATS does not answer for ")
    expect(tab.locator("#banner")).to_contain_text("Kubernetes does not answer for ")
    expect(tab.locator("body")).to_have_class("stale")
    inspect(tab, f"{path} stale")


def test_the_longest_names_fit_on_a_phone(page: RunningPage, visit: Callable[[str], Page]) -> None:
    name = "n" * 63
    crash = workload(name, "Restarting", "CrashLoop")
    item = deployment(name, condition("Ready", "False", "DevicesFailed"), failed=1)
    item["spec"]["selector"] = {}
    page.show(device(name, site=name, deployments=1, workloads=[crash]), deployments=(item,))
    page.do(lambda: page.parts.store.tail.add(time.time(), "device-state", name, f"{name} Failed (PortInUse)"))
    for path in (*SCREENS, f"/devices/{name}", f"/deployments/{name}"):
        tab = visit(path)
        expect(tab.locator("main")).to_contain_text(name)
        on_a_phone(tab, f"{path}, long names")
        tab.close()


_BEFORE = "(one) => getComputedStyle(one, '::before').content"


@pytest.mark.parametrize(
    ("name", "stale"), [(PROVIDER, False), (CALLOUT, False), (NATS, True), (KUBERNETES, True), (OPERATOR, True)]
)
def test_what_is_old_is_not_said_in_the_present(
    page: RunningPage, visit: Callable[[str], Page], name: str, *, stale: bool
) -> None:
    """Nothing that is shown comes from the identity provider, or from the callout."""
    page.show(device("pi-1"))
    tab = visit("/devices/pi-1")
    healthy, online = tab.locator(".healthy"), tab.locator("h1 .state")
    expect(healthy).to_have_text("Nothing is wrong with this device.")
    assert [healthy.evaluate(_BEFORE), online.evaluate(_BEFORE)] == ["none", "none"]
    page.do(lambda: page.parts.store.sources.mark_unavailable(name, "nobody answers"))
    expect(tab.locator("#banner")).to_contain_text(f"{name} does not answer for ")
    words = '"When last heard: "' if stale else "none"
    assert [healthy.evaluate(_BEFORE), online.evaluate(_BEFORE)] == [words, words]
    now = tab.context.new_page()
    go(now, page.url)
    expect(now.locator("main")).to_contain_text(f"{name} does not answer")
    assert ("what is shown is as it was known before" in now.locator("main").inner_text()) is stale


def test_what_is_not_known_yet_is_shown_once_it_is(page: RunningPage, context: BrowserContext) -> None:
    """Somebody comes back to a device while the page's server, which was started anew, reads Kubernetes."""
    page.do(lambda: page.parts.store.sources.mark_unavailable(KUBERNETES, "connection refused"))
    sign_in(context, page)
    tab = context.new_page()
    go(tab, page.url + "/devices/pi-1")
    expect(tab.locator("main")).to_contain_text("Kubernetes has not been read yet (connection refused)")
    page.show(device("pi-1"))
    expect(tab.locator("h1")).to_contain_text("pi-1")


def test_a_server_that_is_gone(page: RunningPage, visit: Callable[[str], Page]) -> None:
    page.show(device("pi-1"))
    tab = visit("/")
    expect(tab.locator(".healthy")).to_have_text("Nothing is wrong.")
    assert tab.locator(".healthy").evaluate(_BEFORE) == "none"
    page.close()
    expect(tab.locator("body")).to_have_class("stale")
    assert tab.locator(".healthy").evaluate(_BEFORE) == '"When last heard: "'
    expect(tab.locator("#banner")).to_contain_text("This page's server does not answer")
    inspect(tab, "the page's server is gone")


def test_a_session_that_has_ended(page: RunningPage, context: BrowserContext, visit: Callable[[str], Page]) -> None:
    page.show(device("pi-1", OFFLINE))
    tab = visit("/")
    (cookie,) = [one.get("value") for one in context.cookies() if one.get("name") == page.session_cookie]
    page.do(lambda: page.parts.sessions.end(cookie))
    expect(tab.locator("#banner a")).to_have_text("Sign in again")
    inspect(tab, "the session has ended")


def test_one_page_too_many(
    page: RunningPage, context: BrowserContext, visit: Callable[[str], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    page.show()
    monkeypatch.setattr("fleet.web.streams._PER_SESSION", 1)
    visit("/")
    tab = context.new_page()
    go(tab, page.url)
    expect(tab.locator("#banner")).to_contain_text("1 pages of this sign-in are kept up to date")
    inspect(tab, "one page too many")


@pytest.mark.parametrize(("path", "words"), [("/devices/none", "there is no device none"), ("/none", "no such page")])
def test_what_is_not_there(page: RunningPage, context: BrowserContext, path: str, words: str) -> None:
    page.show()
    sign_in(context, page)
    tab = context.new_page()
    go(tab, page.url + path)
    expect(tab.locator("main")).to_contain_text(words)
    inspect(tab, path)


def test_a_device_that_goes_while_it_is_shown(page: RunningPage, visit: Callable[[str], Page]) -> None:
    page.show(device("pi-1"))
    tab = visit("/devices/pi-1")
    page.change("Device", device("pi-1"), deleted=True)
    expect(tab.locator("h1")).to_have_text("Gone")
    inspect(tab, "a device that went")


def test_signing_in(tls: Tls, context: BrowserContext, tmp_path: Path) -> None:
    """Both ways, the code with its picture, and somebody who lacks the role."""
    with double_at(tmp_path / "provider") as idp:
        assert idp.double is not None
        idp.set(deviceInterval=1)
        user = User(idp, idp.double.admin_password()[1], tls, free_port())
        page = RunningPage(user.config)
        try:
            tab = context.new_page()
            go(tab, page.url)
            expect(tab.locator("#by-page")).to_be_visible()
            inspect(tab, "sign in")
            press(tab, "#by-code")
            expect(tab.locator("#waiting")).to_contain_text("Waiting for you to approve it; the code holds until ")
            press(tab, "#check button")
            expect(tab.locator("#error")).to_contain_text("does not know your approval yet")
            inspect(tab, "a code that was said to be approved too early")
            user.decide(tab.locator("#code").inner_text())
            expect(tab.locator("#error")).to_contain_text("you lack the role fleet-viewer")
            inspect(tab, "without the role")
        finally:
            page.close()


def test_who_waits_for_an_approval_is_told_what_it_waits_for(tls: Tls, context: BrowserContext, tmp_path: Path) -> None:
    """The page's server or the provider is away, and back: the words follow."""
    with double_at(tmp_path / "provider") as idp:
        assert idp.double is not None
        idp.set(deviceInterval=3600)
        page = RunningPage(User(idp, idp.double.admin_password()[1], tls, free_port()).config)
        try:
            tab = context.new_page()
            go(tab, page.url)
            press(tab, "#by-code")
            waiting = tab.locator("#waiting")
            expect(waiting).to_contain_text("Waiting for you to approve it; the code holds until ")
            tab.route("**/sign-in/check*", lambda asked: asked.abort())
            expect(waiting).to_contain_text("This page's server does not answer")
            tab.unroute("**/sign-in/check*")
            expect(waiting).to_contain_text("Waiting for you to approve it; the code holds until ")
            (login,) = page.do(lambda: list(vars(page.parts.sign_in.logins)["_under_way"].values()))
            login.unanswered = f"{idp.issuer} does not answer"
            expect(waiting).to_contain_text(f"{idp.issuer} does not answer")
            inspect(tab, "the provider is away while a code waits")
            login.unanswered = ""
            expect(waiting).to_contain_text("Waiting for you to approve it; the code holds until ")
        finally:
            page.close()


def test_a_provider_that_does_not_answer(page: RunningPage, context: BrowserContext) -> None:
    tab = context.new_page()
    go(tab, page.url)
    press(tab, "#by-code")
    expect(tab.locator("#error")).to_contain_text("Next: ")
    inspect(tab, "the provider does not answer")
