"""Hooks of the harness for other plugins and conftests."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.targets.registry import Settings
    from harness.world.world import World


@pytest.hookspec(firstresult=True)
def pytest_fleet_open_world(settings: Settings) -> AbstractContextManager[World] | None:
    """Called once per worker, for the first test that wants a world; None lets the next implementation answer."""
    raise NotImplementedError
