"""Signing in with the identity provider's double: by code, at its own page, and every way in which it fails."""

from __future__ import annotations

import re

import httpx
import pytest

from fleet.contract.config import VIEWER_ROLE
from fleet.contract.errors import Unreachable
from fleet.web import logins
from fleet.web.source import PROVIDER
from fleet.web.viewer import Viewers
from harness.wait import wait_until
from tests.doubles.zitadel.idp import healthy
from tests.web.sign_in_environment import SignInEnvironment, at_the_provider


def test_a_person_signs_in_by_code_and_out_again(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser:
        asked = browser.post("/sign-in/device")
        assert environment.idp.issuer in asked.text
        assert "Never approve a code that somebody sent to you" in asked.text
        assert f"(application {environment.config.cli_client_id})" in asked.text, "RFC 8628, section 5.4"
        assert "at <b>localhost:" in asked.text
        assert browser.get("/sign-in/qr.svg").headers["content-type"] == "image/svg+xml"
        environment.decide_on(asked.text)
        assert "<h1>Now</h1>" in environment.wait(browser).text
        (cookie,) = [one for one in browser.cookies.jar if one.name == environment.page.session_cookie]
        flags = {str(name).lower(): value for name, value in vars(cookie)["_rest"].items()}
        assert (cookie.secure, cookie.path, cookie.domain_specified) == (True, "/", False)
        assert "httponly" in flags
        assert flags["samesite"].lower() == "strict"
        text = browser.get("/").text
        assert "Sign out" in text
        before = dict(browser.cookies)
        assert "Sign in with a code" in browser.post("/sign-out").text
        kept = httpx.get(environment.page.url, verify=False, cookies=before, headers={"accept": "text/html"})
        assert kept.status_code == 303, "the session is over on the server, too"


def test_neither_the_device_code_nor_a_token_leaves_the_server(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser:
        said = browser.post("/sign-in/device").text
        (login,) = environment.under_way()
        assert login.asked is not None
        assert login.asked.device_code not in said + browser.get("/sign-in/qr.svg").text
        assert login.asked.device_code not in repr(login)
        environment.decide_on(said)
        said = environment.wait(browser).text + repr(browser.cookies)
        assert "eyJ" not in said, "no token"
        assert "eyJ" not in environment.page.do(lambda: repr(vars(environment.page.parts.sessions))), "none is kept"


def test_without_the_role_nobody_comes_in_and_the_role_is_named(environment: SignInEnvironment) -> None:
    with environment.browser() as browser:
        text = environment.sign_in(browser).text
        assert f"you lack the role {VIEWER_ROLE}" in text
        assert environment.project in text
        assert browser.get("/devices").url.path == "/sign-in"
        environment.grant()
        assert "<h1>Now</h1>" in environment.sign_in(browser).text


def test_who_says_too_early_that_the_code_is_approved_is_told_so(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser:
        asked = browser.post("/sign-in/device").text
        early = browser.post("/sign-in/check").text
        assert "does not know your approval yet" in early
        assert "Next: Open the address below, and approve the code" in early
        assert re.findall('id="code">([^<]+)<', early) == re.findall('id="code">([^<]+)<', asked), "the same code"
        assert "does not know" not in browser.get("/sign-in").text
        environment.decide_on(early)
        assert "<h1>Now</h1>" in environment.wait(browser).text


def test_an_answer_that_was_lost_on_its_way_can_be_asked_for_again(
    environment: SignInEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser whose network changes drops what is under way, and would else begin anew without a word."""
    monkeypatch.setattr(logins, "_LOST", 3600.0)
    environment.grant()
    with environment.browser() as browser, environment.browser() as again:
        environment.decide_on(browser.post("/sign-in/device").text)
        again.cookies.set(
            environment.page.login_cookie, browser.cookies[environment.page.login_cookie], domain="localhost.local"
        )
        assert "<h1>Now</h1>" in environment.wait(browser).text
        assert "<h1>Now</h1>" in again.post("/sign-in/check").text
        browser.post("/sign-out")
        assert again.post("/sign-in/check").url.path == "/sign-in", "it is the same session"


def test_what_came_of_a_sign_in_is_soon_forgotten(
    environment: SignInEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "_LOST", 0.0)
    environment.grant()
    with environment.browser() as browser, environment.browser() as late:
        environment.decide_on(browser.post("/sign-in/device").text)
        late.cookies.set(
            environment.page.login_cookie, browser.cookies[environment.page.login_cookie], domain="localhost.local"
        )
        assert "<h1>Now</h1>" in environment.wait(browser).text
        assert "Sign in with a code" in late.post("/sign-in/check").text


def test_who_says_no_stays_out(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser:
        environment.decide_on(browser.post("/sign-in/device").text, "deny")
        assert "the sign-in was denied" in environment.wait(browser).text
        assert browser.get("/").url.path == "/sign-in"


def test_a_code_that_expires_is_said_to(environment: SignInEnvironment) -> None:
    environment.idp.set(deviceLifetime=1)
    with environment.browser() as browser:
        browser.post("/sign-in/device")
        assert "expired" in environment.wait(browser).text


def test_slow_down_is_obeyed(environment: SignInEnvironment) -> None:
    environment.grant()
    environment.idp.set(slowDown=1)
    with environment.browser() as browser:
        asked = browser.post("/sign-in/device").text
        environment.decide_on(asked)
        calls = environment.idp.http.get(
            "/_double/calls", headers={"Authorization": f"Bearer {environment.idp.admin_token}"}
        )
        before = calls.json().get("POST /oauth/v2/token", 0)
        assert "<h1>Now</h1>" in environment.wait(browser).text
        calls = environment.idp.http.get(
            "/_double/calls", headers={"Authorization": f"Bearer {environment.idp.admin_token}"}
        )
        assert calls.json()["POST /oauth/v2/token"] - before <= 2, "one that was slowed down, and one that succeeded"


def test_a_code_of_another_browser_signs_nobody_in(environment: SignInEnvironment) -> None:
    """Who makes a victim approve a code must hold the cookie that it is bound to; nobody else gets in by it."""
    environment.grant()
    with environment.browser() as attacker, environment.browser() as other:
        environment.decide_on(attacker.post("/sign-in/device").text)
        assert 'id="code"' not in other.get("/sign-in").text
        assert "Sign in with a code" in other.post("/sign-in/check").text
        other.cookies.set(environment.page.login_cookie, "guessed", domain="localhost.local")
        assert "Sign in with a code" in other.post("/sign-in/check").text


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": "https://evil.example"}, "of another issuer"),
        ({"aud": ["another"]}, "for another project"),
        ({"exp": 1.0}, "has expired"),
        ({"nbf": 4_000_000_000.0}, "not valid yet"),
    ],
)
def test_a_token_that_is_not_ours_lets_nobody_in(
    environment: SignInEnvironment, claims: dict[str, object], said: str
) -> None:
    environment.grant()
    environment.idp.set(claims=claims)
    with environment.browser() as browser:
        assert said in environment.sign_in(browser).text
        assert browser.get("/").url.path == "/sign-in"


def test_a_cookie_that_nobody_gave_out_is_nothing(environment: SignInEnvironment) -> None:
    for value in ("", "x", "x" * 4000, "../../etc/passwd", "\u00e9"):
        cookie = f"{environment.page.session_cookie}={value}".encode()
        answer = httpx.get(environment.page.url, verify=False, headers=[(b"cookie", cookie), (b"accept", b"text/html")])
        assert answer.status_code == 303


def test_the_session_ends_when_the_token_does(environment: SignInEnvironment) -> None:
    environment.grant()
    environment.idp.set(tokenLifetime=1800)
    with environment.browser() as browser:
        assert "<h1>Now</h1>" in environment.sign_in(browser).text
        environment.page.advance_clock(1500)
        assert browser.get("/").url.path == "/"
        environment.page.advance_clock(1810)
        assert browser.get("/").url.path == "/sign-in"


def test_a_provider_that_is_away_is_named_and_those_signed_in_stay(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as inside, environment.browser() as outside:
        assert "<h1>Now</h1>" in environment.sign_in(inside).text
        environment.idp.set(faults=[{"path": "/", "times": 100, "status": 503}])
        refused = outside.post("/sign-in/device")
        assert refused.status_code == 503
        assert "answers 503" in refused.text
        shown = inside.get("/").text
        assert f"<h3>{PROVIDER} <small>does not answer</small></h3>" in shown
        healthy(environment.idp)
        environment.idp.set(deviceInterval=1)
        assert 'id="code"' in outside.post("/sign-in/device").text
        assert f"<h3>{PROVIDER} " not in inside.get("/").text


def test_who_begins_many_sign_ins_keeps_nobody_out(environment: SignInEnvironment) -> None:
    """Nobody has to be somebody to begin one."""
    environment.page.do(lambda: [environment.page.parts.sign_in.logins.begin_code() for _ in range(60)])
    with environment.browser() as browser:
        assert 'id="code"' in browser.post("/sign-in/device").text


def test_who_begins_too_many_is_refused_in_words_and_the_provider_is_not_asked(environment: SignInEnvironment) -> None:
    pace = environment.page.parts.sign_in.pace
    vars(pace).update(_now=lambda: 7.0)  # no minute ends meanwhile
    environment.page.do(lambda: [pace.take("127.0.0.1") for _ in range(59)])
    with environment.browser() as browser:
        assert 'id="code"' in browser.post("/sign-in/device").text
        before = environment.calls()
        for refused in (browser.post("/sign-in/device"), browser.get("/sign-in/provider")):
            assert refused.status_code == 429
            assert "there are too many sign-ins at this moment" in refused.text
        assert 'id="code"' in browser.get("/sign-in").text, "what was begun goes on"
        after = environment.calls()
    for path in ("GET /.well-known/openid-configuration", "POST /oauth/v2/device_authorization"):
        assert after.get(path) == before.get(path)


def test_the_providers_addresses_are_asked_for_once(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser:
        environment.sign_in(browser)
        before = environment.calls()
        assert "<h1>Now</h1>" in environment.sign_in(browser).text
        after = environment.calls()
    assert after["POST /oauth/v2/token"] > before["POST /oauth/v2/token"]
    assert after["GET /.well-known/openid-configuration"] == before["GET /.well-known/openid-configuration"]


def test_one_address_that_begins_many_sign_ins_ends_its_own(environment: SignInEnvironment) -> None:
    logins_under_way = environment.page.parts.sign_in.logins

    def flood() -> list[bool]:
        mine, _ = logins_under_way.begin_code("/", "192.0.2.1")
        done, login = logins_under_way.begin_code("/", "192.0.2.2")
        login.token = "approved"
        for _ in range(200):
            logins_under_way.begin_code("/", "192.0.2.2")
        return [logins_under_way.find(cookie) is not None for cookie in (mine, done)]

    assert environment.page.do(flood) == [True, True]


def test_another_site_begins_no_sign_in(environment: SignInEnvironment) -> None:
    with environment.browser() as browser:
        before = browser.post("/sign-in/device").text
        for site in ("cross-site", "same-site"):
            refused = browser.get("/sign-in/provider", headers={"sec-fetch-site": site}, follow_redirects=False)
            assert refused.status_code == 403
        assert re.findall(r'id="code">[^<]+', browser.get("/sign-in").text) == re.findall(r'id="code">[^<]+', before)


def test_who_signs_in_again_has_one_session(environment: SignInEnvironment) -> None:
    """Else no sign-out would end the other one."""
    environment.grant()
    with environment.browser() as browser:
        environment.sign_in(browser)
        before = {environment.page.session_cookie: browser.cookies[environment.page.session_cookie]}
        environment.sign_in(browser)
        assert "<h1>Now</h1>" in browser.get("/").text
        kept = httpx.get(environment.page.url, verify=False, cookies=before, headers={"accept": "text/html"})
        assert kept.status_code == 303


def test_an_approval_is_not_lost_while_the_keys_cannot_be_had(
    environment: SignInEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.grant()

    async def away(*_: object) -> None:
        raise Unreachable("the issuer's keys cannot be had", next_step="try again later")

    with environment.browser() as browser:
        asked = browser.post("/sign-in/device").text
        with monkeypatch.context() as outage:
            outage.setattr(Viewers, "admit", away)
            environment.decide_on(asked)
            (login,) = environment.under_way()
            wait_until(lambda: login.token, "it is approved", timeout=60, until=bool)
            waits = browser.post("/sign-in/check").text
            assert 'id="code"' in waits
            assert "keys cannot be had" in waits
        assert "<h1>Now</h1>" in environment.wait(browser).text


def test_a_state_that_no_page_of_ours_made_is_refused(environment: SignInEnvironment) -> None:
    with environment.browser() as browser:
        browser.get("/sign-in/provider", follow_redirects=False)
        refused = browser.get("/sign-in/return?state=%C3%A9&code=x")
        assert refused.status_code == 403
        assert "was not begun in this browser" in refused.text
        assert "frame-ancestors" in refused.headers["content-security-policy"]


def test_a_person_signs_in_at_the_providers_page(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser:
        back = at_the_provider(environment, browser)
        assert back.status_code == 302
        # It comes from another site.
        landed = browser.get(back.headers["location"], headers={"sec-fetch-site": "cross-site"})
        assert "You are signed in" in landed.text
        assert "<h1>Now</h1>" in browser.get("/").text
        again = browser.get(back.headers["location"])
        assert again.status_code == 403, "a code is of use once"


def test_the_providers_page_lets_only_its_own_browser_in(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser, environment.browser() as other:
        back = at_the_provider(environment, browser).headers["location"]
        stolen = other.get(back)
        assert stolen.status_code == 403
        assert "was not begun in this browser" in stolen.text
        forged = browser.get(re.sub(r"state=[^&]+", "state=guessed", back))
        assert forged.status_code == 403
        assert "was not begun in this browser" in forged.text
        assert at_the_provider(environment, browser, "wrong").status_code == 401
        at_the_provider(environment, browser)
        refused = browser.get("/sign-in/return", params={"error": "access_denied", "state": "x"})
        assert refused.status_code == 403


def test_a_code_of_another_sign_in_is_of_no_use(environment: SignInEnvironment) -> None:
    """OpenID Connect Core 1.0, section 3.1.3.7: the ID token must have the nonce that this browser's sign-in sent."""
    environment.grant()
    with environment.browser() as browser:
        back = at_the_provider(environment, browser).headers["location"]
        (login,) = environment.under_way()
        login.nonce = "another"
        refused = browser.get(back)
        assert refused.status_code == 403
        assert "the identity provider answered another sign-in" in refused.text
        assert browser.get("/").url.path == "/sign-in"


def test_an_answer_that_was_not_asked_for_with_this_verifier_is_of_no_use(environment: SignInEnvironment) -> None:
    environment.grant()
    with environment.browser() as browser:
        back = at_the_provider(environment, browser).headers["location"]
        (login,) = environment.under_way()
        login.verifier = "another"
        refused = browser.get(back)
        assert "does not take the code" in refused.text
        assert browser.get("/").url.path == "/sign-in"


def test_a_tab_with_an_older_code_is_led_to_the_code_that_counts(environment: SignInEnvironment) -> None:
    """It would wait for ever, also when its code is approved: the browser has begun another sign-in since."""
    environment.grant()
    with environment.browser() as browser:
        old, new = browser.post("/sign-in/device").text, browser.post("/sign-in/device").text
        shown = [re.findall('id="code">([^<]+)<', text) for text in (old, new)]
        ask = [found for text in (old, new) for found in re.findall('action="(/sign-in/check[^"]*)"', text)]
        script = {"accept": "application/json"}
        assert browser.post(ask[0], headers=script).json() == {"state": "failed"}, "its script opens the sign-in anew"
        assert re.findall('id="code">([^<]+)<', browser.post(ask[0]).text) == shown[1]
        assert browser.post(ask[1], headers=script).json() == {"state": "waiting"}
        assert re.findall('id="code">([^<]+)<', browser.get("/sign-in").text) == shown[1] != shown[0]
