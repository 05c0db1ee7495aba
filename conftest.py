"""What holds for every test: the report's plugin, Ctrl-C for whoever it starts, order, garbage, and Hypothesis."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["reports.plugin"]

# A shell's background job ignores SIGINT, and so would every process that it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no reason to fail: neither a slow example nor slow input. Inputs are the same in every run, so that
# what fails here fails again; `./scripts/test.sh --shuffle` draws others, every night.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", settings.get_profile("random"), derandomize=True)
settings.load_profile("repeatable")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put scenarios first: they take longest, and at the end one worker would play the last of them alone."""
    items.sort(key=lambda item: not item.nodeid.startswith("e2e/"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what was collected out of every later search for garbage: it stays to the end, and is a million objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
