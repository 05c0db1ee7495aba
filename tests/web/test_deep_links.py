"""Whoever asks for a screen before signing in comes to it afterwards, and to no other site."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

import httpx
import pytest

from fleet.web.destination import own_path
from harness.wait import wait_until
from tests.support.web import RunningPage, device
from tests.web.sign_in_environment import SignInEnvironment, at_the_provider

SCREENS = (
    "/devices/pi-1",
    "/devices?q=site%3Dlab&show=trouble",
    "/deployments",
    "/deployments/web.v2",
    "/deployments/web.v2/devices?state=Pending&from=pi-1",
    "/tail?q=web%20Failed",
    "/?x=1",
)
ELSEWHERE = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/devices/\n//evil.example",
    "https:evil.example",
    "https://evil.example/devices",
    "javascript:alert(1)",
    "/%2f%2fevil.example",
    "%2f%2fevil.example",
    "/%5cevil.example",
    "/devices/..//evil.example",
    "/devices/../../evil",
    "/devices/%2e%2e",
    "/deployments/web/secrets",
    "/deployments/../devices",
    "/devices/pi-1#//evil.example",
    '/devices/pi-1?"><script>',
    "/devices/pi-1?q=\r\nSet-Cookie: a=b",
    "/devices@evil.example",
    ".evil.example",
    "/sign-in?to=//evil.example",
    "/sign-out",
    "/static/devices.js",
    "/devices/pi-1\n",
    "devices",
    "/devices/\u0440i-1",
    "/devices?" + "a" * 2_000,
)


@pytest.mark.parametrize("path", ["/", *SCREENS])
def test_a_screen_of_ours_is_a_destination(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize("path", ["", *ELSEWHERE])
def test_anything_else_is_none(path: str) -> None:
    assert own_path(path) == "/"


@pytest.mark.parametrize("path", SCREENS)
def test_who_is_not_signed_in_is_sent_to_a_sign_in_that_remembers(page: RunningPage, path: str) -> None:
    with httpx.Client(base_url=page.url, verify=False, headers={"accept": "text/html"}, timeout=30) as browser:
        sent = browser.get(path)
        assert sent.headers["location"] == f"/sign-in?to={quote(path, safe='')}"
        shown = html.unescape(browser.get(sent.headers["location"]).text)
        assert f'action="/sign-in/device?to={quote(path, safe="")}"' in shown
        assert browser.get("/").headers["location"] == "/sign-in", "the first screen comes anyway"


@pytest.mark.parametrize("path", ELSEWHERE)
def test_no_address_leads_elsewhere(environment: SignInEnvironment, path: str) -> None:
    environment.grant()
    with environment.browser() as browser:
        to = quote(path.encode(), safe="")
        assert "evil" not in browser.get(f"/sign-in?to={to}").text
        for where in (to, quote(to)):
            environment.decide_on(browser.post(f"/sign-in/device?to={where}").text)
            assert environment.under_way()[0].to == "/"
        browser.get(f"/sign-in/provider?to={to}", follow_redirects=False)
        assert {one.to for one in environment.under_way()} == {"/"}


def test_who_signs_in_by_code_comes_to_the_screen_that_was_asked_for(environment: SignInEnvironment) -> None:
    environment.grant()
    environment.page.show(device("pi-1"))
    with environment.browser() as browser:
        first = browser.get("/devices/pi-1?x=%2F")
        form = re.search(r'action="(/sign-in/device[^"]*)"', first.text)
        assert form is not None
        environment.decide_on(browser.post(html.unescape(form[1])).text)
        landed = environment.wait(browser)
        assert landed.url.raw_path == b"/devices/pi-1?x=%2F"
        assert "<h1>pi-1" in landed.text


def test_a_script_is_told_where_to_go(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser:
        environment.decide_on(browser.post("/sign-in/device?to=%2Ftail").text)
        said = wait_until(
            lambda: browser.post("/sign-in/check", headers={"accept": "application/json"}).json(),
            "the sign-in ends",
            timeout=90,
            until=lambda answer: answer["state"] != "waiting",
        )
        assert said == {"state": "done", "to": "/tail"}


def test_who_signs_in_at_the_providers_page_comes_to_the_screen_that_was_asked_for(
    environment: SignInEnvironment,
) -> None:
    environment.grant()
    with environment.browser() as browser:
        first = browser.get("/devices?q=site%3Dlab")
        link = re.search(r'href="(/sign-in/provider[^"]*)"', first.text)
        assert link is not None
        back = at_the_provider(environment, browser, start=html.unescape(link[1]))
        landed = browser.get(back.headers["location"], headers={"sec-fetch-site": "cross-site"})
        assert 'content="0;url=/devices?q=site%3Dlab"' in landed.text


def test_a_sign_in_that_fails_or_is_begun_again_still_remembers(environment: SignInEnvironment) -> None:
    with environment.browser() as browser:
        environment.decide_on(browser.post("/sign-in/device?to=%2Ftail").text)
        refused = environment.wait(browser)
        assert "fleet-viewer" in refused.text, "the person has no role yet"
        assert 'action="/sign-in/device?to=%2Ftail"' in refused.text
        shown = browser.post("/sign-in/device?to=%2Ftail").text
        again = re.search(r'href="(/sign-in\?again=1[^"]*)"', browser.get("/sign-in").text)
        assert again is not None
        assert 'id="code"' in shown
        assert 'action="/sign-in/device?to=%2Ftail"' in browser.get(html.unescape(again[1])).text
        other = browser.get("/sign-in/return", params={"error": "access_denied", "state": "x"})
        assert other.status_code == 403
