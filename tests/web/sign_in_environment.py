"""The identity provider's double with a user, and a page that trusts it."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import httpx

from fleet.web.logins import Login
from harness.wait import wait_until
from tests.doubles.zitadel.idp import Idp
from tests.support.tls import Tls
from tests.support.web import RunningPage
from tests.web.user import User


class SignInEnvironment(User):
    """The double with a project, a user, and a page that trusts it."""

    def __init__(self, idp: Idp, tls: Tls, port: int) -> None:
        assert idp.double is not None
        super().__init__(idp, idp.double.admin_password()[1], tls, port)
        self.page = RunningPage(self.config)

    def browser(self) -> httpx.Client:
        """A browser without scripts."""
        headers = {"accept": "text/html", "origin": self.page.url, "sec-fetch-site": "same-origin"}
        return httpx.Client(base_url=self.page.url, verify=False, headers=headers, timeout=30, follow_redirects=True)

    def decide_on(self, text: str, action: str = "allow") -> None:
        """Decide on the code that a page shows."""
        code = re.search(r'id="code">([A-Z]{4}-[A-Z]{4})<', text)
        assert code is not None, text
        self.decide(code[1], action)

    def under_way(self) -> list[Login]:
        """The page's sign-ins that have begun."""
        return self.page.do(lambda: list(vars(self.page.parts.sign_in.logins)["_under_way"].values()))

    def calls(self) -> dict[str, int]:
        """How often the provider was asked what."""
        headers = {"Authorization": f"Bearer {self.idp.admin_token}"}
        return self.idp.http.get("/_double/calls", headers=headers).json()

    def wait(self, browser: httpx.Client) -> httpx.Response:
        """Ask until the page says something else than that it waits."""

        def asked() -> httpx.Response:
            return browser.post("/sign-in/check")

        return wait_until(asked, "the sign-in ends", timeout=90, until=lambda answer: 'id="code"' not in answer.text)

    def sign_in(self, browser: httpx.Client) -> httpx.Response:
        """The whole way by code."""
        self.decide_on(browser.post("/sign-in/device").text)
        return self.wait(browser)


def at_the_provider(
    environment: SignInEnvironment, browser: httpx.Client, password: str = "", start: str = "/sign-in/provider"
) -> httpx.Response:
    """Sign in at the provider's page; returns its answer, which sends the browser back."""
    sent = browser.get(start, follow_redirects=False)
    assert sent.status_code == 303
    asked = {name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}
    assert asked["code_challenge_method"] == "S256"
    form = {**asked, "login_name": environment.login, "password": password or environment.password}
    return environment.idp.http.post("/oauth/v2/authorize", data=form)
