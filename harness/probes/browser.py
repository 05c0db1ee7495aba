"""The web page as a person sees it, in Debian's Chromium."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import allure
from playwright.sync_api import Browser, Error, Page, ViewportSize, expect, sync_playwright

from harness.errors import HarnessError
from harness.wait import wait_until

_PATIENCE = 30.0
"""Seconds for a page to show what it must."""


@contextmanager
def chromium() -> Generator[Browser]:
    """A browser without a window, which no change of this machine's network disturbs. None is downloaded.

    Raises:
        HarnessError: there is no Chromium on the PATH.
    """
    path = shutil.which("chromium")
    if path is None:
        raise HarnessError("there is no Chromium on the PATH", next_step="apt-get install chromium")
    # As root there is no sandbox to be had; what it shows comes from the world alone.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=_PATIENCE * 1000)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        program = Path(folder, "chromium")
        without = [sys.executable, "-m", "harness.probes.without_netlink", path]
        program.write_text(f'#!/bin/sh\nexec {shlex.join(without)} "$@"\n')
        program.chmod(0o700)
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def tab(state: Path | None = None) -> Generator[Page]:
    """A tab of a browser of its own; `state` is a file of what an earlier one had kept.

    Raises:
        HarnessError: as `chromium`.
    """
    with chromium() as browser:
        size = ViewportSize(width=1200, height=800)
        yield browser.new_context(ignore_https_errors=True, viewport=size, storage_state=state).new_page()


_AGAIN = ("ERR_CONNECTION_REFUSED", "interrupted by another navigation")
"""A forwarded port is away for a moment when the API server was, by the step of another worker; and a page may load
itself once more, which interrupts us."""


def go(page: Page, url: str) -> None:
    """Open an address, until it answers."""
    wait_until(lambda: _opens(lambda: page.goto(url)), f"{url} opens", timeout=60)


def press(page: Page, selector: str) -> None:
    """Press what leads to another page, and load that one again until it answers."""

    def pressed() -> None:
        with page.expect_navigation():
            page.locator(selector).click()

    if not _opens(pressed):
        wait_until(lambda: _opens(page.reload), f"the page behind {selector} opens", timeout=60)


def _opens(act: Callable[[], object]) -> bool:
    """Whether an act opens a page, and did not meet what passes by itself."""
    try:
        act()
    except Error as error:
        if any(text in error.message for text in _AGAIN):
            return False
        raise
    return True


def attach(page: Page, name: str) -> None:
    """Show the report's reader what a person sees."""
    allure.attach(page.screenshot(), name=name, attachment_type=allure.attachment_type.PNG)
