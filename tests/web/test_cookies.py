"""Which cookies a browser sends to which page."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.tls import make_tls
from tests.support.web import RunningPage, web_page
from tests.web.sign_in_environment import SignInEnvironment

_PROVIDER = ("issuer", "issuer_ca", "project_id", "cli_client_id")


def test_two_servers_that_are_forwarded_to_one_host_keep_their_sessions(
    environment: SignInEnvironment, tmp_path: Path
) -> None:
    """A browser tells cookies apart by host, and not by port: who signed in to a second fleet was out of the first."""
    environment.grant()
    page = web_page(make_tls(tmp_path), **{name: getattr(environment.config, name) for name in _PROVIDER})
    other = RunningPage(page)
    try:
        with environment.browser() as browser:
            assert "<h1>Now</h1>" in environment.sign_in(browser).text
            begun = browser.post("/sign-in/device").text
            browser.cookies.update(other.cookie())
            from_there = {"origin": other.url}
            browser.post(f"{other.url}/sign-in/device", headers=from_there)
            assert "<h1>Now</h1>" in browser.get(other.url).text
            assert "<h1>Now</h1>" in browser.get("/").text
            assert re.findall(r'id="code">[^<]+', browser.get("/sign-in").text) == re.findall(r'id="code">[^<]+', begun)
            browser.post(f"{other.url}/sign-out", headers=from_there)
            assert browser.get(other.url).url.path == "/sign-in"
            assert "<h1>Now</h1>" in browser.get("/").text
    finally:
        other.close()
