"""Look at the fleet in a browser."""

from __future__ import annotations

import json
import ssl
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from fleet.contract.config import DEFAULT_NAMESPACE, VIEWER_ROLE
from harness.probes.browser import attach, go, press, tab
from harness.probes.identity import IdentityProbe
from harness.processes.spawn import http_answers
from harness.scenario.command import Result
from harness.scenario.command_line import Command, refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import INSTALL
from harness.wait import wait_until
from scenarios import checks
from scenarios.rotate import LIST, renewed
from scenarios.workloads import web

_WEB = Command(f"{INSTALL.template} --web", deadline=INSTALL.deadline)
_OPEN = Command("fleet web --no-browser --output json", stays="\n}\n")
"""Until the end of its answer: what it says of its progress comes by another output, and may come first."""

browse = Scenario(
    id="browse",
    title="Look at the fleet in a browser",
    chapter="Observe",
    why="Whoever is called sees what is wrong now, since when, and which command helps, without a terminal and without "
    "a right to change anything.",
    devices=2,
)


@dataclass(frozen=True)
class Shown:
    """Where the page is, and the certificate that it has."""

    url: str
    certificate: str


@browse.step("Have the server serve the page", _WEB, _OPEN, look_at=("operator",))
def served(run: Run, _installed: Result, opened: Result) -> None:
    """The second command prints where the page is; nobody sees anything there without signing in."""
    url = json.loads(opened.stdout)["url"]
    wait_until(lambda: http_answers(f"{url}/sign-in"), "the page answers", timeout=checks.ROLLOUT)
    run.keep(Shown(url, shown_certificate(url)))


@browse.step("Sign in, and have the role given", "fleet server status --output json", look_at=("operator",))
def signed_in(run: Run, status: Result) -> None:
    """A user without the role is refused, and the page names it. An administrator of the identity provider grants it.

    Then the first screen shows the fleet.
    """
    with tab() as page:
        go(page, run.kept(Shown).url)
        _approve(run, page)
        expect(page.locator("#error")).to_contain_text(f"you lack the role {VIEWER_ROLE}")
        attach(page, "without the role")
        with closing(IdentityProbe(run.world)) as provider:
            provider.grant_person(json.loads(status.stdout)["projectId"], VIEWER_ROLE)
        _approve(run, page)
        expect(page.locator("h1")).to_have_text("Now")
        expect(page.locator("#f-all b")).not_to_have_text("0")
        attach(page, "Now")
        page.context.storage_state(path=_state_file(run))


@browse.step("Pull the plug of a device while somebody looks", look_at=("operator", "agent:device"))
def found(run: Run) -> None:
    """The open page shows it without a reload, with its reason, and leads to the command that helps."""
    device, url = run.name("device"), run.kept(Shown).url
    host = checks.killable(run)
    with tab(_state_file(run)) as page:
        go(page, url)
        expect(page.locator("#live")).to_contain_text("live")
        host.power_off()
        silent = page.locator(".group", has_text="HeartbeatMissed").locator("a", has_text=device)
        expect(silent).to_be_visible()
        attach(page, "Now, and a device is silent")
        silent.click()
        expect(page.locator("h1")).to_contain_text(device)
        elsewhere = "" if run.world.namespace == DEFAULT_NAMESPACE else f" --namespace {run.world.namespace}"
        expect(page.locator(".command code").first).to_have_text(f"fleet device show {device}{elsewhere}")
        expect(page.get_by_label("Table of events")).to_contain_text("HeartbeatMissed")
        attach(page, "the silent device")
        for path, words in (("/devices", device), ("/deployments", "Deployments"), ("/tail", "Tail")):
            go(page, f"{url}{path}")
            expect(page.locator("main")).to_contain_text(words)
            attach(page, path)


@browse.step(
    "Type the command that the page shows, and put the plug back",
    Command("fleet device show {device}", contains=("HeartbeatMissed", "is it switched on", "heard: ")),
    look_at=("operator", "agent:device"),
)
def back(run: Run) -> None:
    """It says what the page said, and the device comes online by itself."""
    checks.killable(run).power_on()
    checks.online(run)


@browse.step("See what a deployment was before", web(1), web(2), look_at=("operator", "agent:device"))
def remembered(run: Run) -> None:
    """The page shows each revision with the command that made it and the names of the fields that it changed.

    No value of an environment is on it.
    """
    with tab(_state_file(run)) as page:
        go(page, f"{run.kept(Shown).url}/deployments/{run.name('deployment')}")
        rows = page.get_by_label("Table of revisions").locator("tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("fleet deployment apply")
        expect(rows.first.locator("td").nth(3)).to_have_text("env")
        expect(page.locator("main")).not_to_contain_text("RELEASE")
        attach(page, "what a deployment was before")


@browse.step(
    "Renew the key of the page's certificate",
    Command("fleet secrets rotate web_tls_key", contains=("rotated, now sha256:",), deadline=180),
    LIST,
    _OPEN,
    look_at=("operator",),
)
def renewed_page(run: Run, _first: Result, result: Result, opened: Result) -> None:
    """The page answers by another certificate of the authority that browsers were asked to trust."""
    renewed(result, "web_tls_key")
    url = json.loads(opened.stdout)["url"]
    run.keep(Shown(url, run.kept(Shown).certificate))
    wait_until(lambda: http_answers(f"{url}/sign-in"), "the page answers", timeout=checks.ROLLOUT)
    assert shown_certificate(url) != run.kept(Shown).certificate
    checks.online(run)


@browse.step(
    "Take the page away",
    INSTALL,
    refused("fleet web --no-browser", 3, contains="serves no web page"),
    look_at=checks.SERVER,
)
def gone(run: Run) -> None:
    """Nothing answers at its address any more, and its account is gone."""
    server = run.world.kube.server()
    assert server is not None
    assert not server.web
    url = run.kept(Shown).url
    wait_until(
        lambda: not http_answers(f"{url}/sign-in"), "nothing answers at the page's address", timeout=checks.ROLLOUT
    )


def shown_certificate(url: str) -> str:
    """The certificate (PEM) by which the page answers."""
    parts = urlsplit(url)
    return ssl.get_server_certificate((str(parts.hostname), parts.port or 443), timeout=5)


def _state_file(run: Run) -> Path:
    """Where a browser keeps its session for those of later steps."""
    return run.world.root / "browser.json"


def _approve(run: Run, page: Page) -> None:
    """Begin to sign in, and have a person approve the code that the page shows."""
    press(page, "#by-code")
    run.world.approve(page.locator("#code").inner_text())
