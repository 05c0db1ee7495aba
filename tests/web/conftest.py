from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from harness.processes.ports import free_port
from tests.support.tls import Tls
from tests.support.web import RunningPage, web_page


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


@pytest.fixture
def unused_port() -> int:
    """A port that was free a moment ago."""
    return free_port()
