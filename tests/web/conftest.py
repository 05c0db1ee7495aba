from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from harness.processes.ports import free_port
from tests.doubles.zitadel.idp import Idp, double_at, healthy
from tests.support.tls import Tls
from tests.support.web import RunningPage, web_page
from tests.web.sign_in_environment import SignInEnvironment

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def page(tls: Tls) -> Iterator[RunningPage]:
    """A page that knows what the test says, and nobody is signed in to."""
    running = RunningPage(web_page(tls))
    yield running
    running.close()


@pytest.fixture
def viewer(page: RunningPage) -> Iterator[httpx.Client]:
    """A browser without scripts, of somebody who is signed in."""
    headers = {"accept": "text/html"}
    with httpx.Client(base_url=page.url, verify=False, cookies=page.cookie(), headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium of this module: as long as it runs, Playwright's event loop runs in the thread of the tests."""
    from harness.probes.browser import chromium  # noqa: PLC0415 - heavy, and most tests of the page need none

    with chromium() as found:
        yield found


@pytest.fixture
def unused_port() -> int:
    """A port that was free a moment ago."""
    return free_port()


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """The double of this module."""
    with double_at(tmp_path_factory.mktemp("idp")) as found:
        yield found


@pytest.fixture
def environment(idp: Idp, tls: Tls, unused_port: int) -> Iterator[SignInEnvironment]:
    """A page whose person has no role yet."""
    healthy(idp)
    idp.set(deviceInterval=1)
    made = SignInEnvironment(idp, tls, unused_port)
    yield made
    made.page.close()
    healthy(idp)
