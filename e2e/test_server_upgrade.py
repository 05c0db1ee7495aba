"""A server of the release before becomes one of this release, and goes back. It takes this repository's history."""

from __future__ import annotations

import pytest

from harness.pytest_plugin.fixtures.scenario import Play
from scenarios.server_upgrade import server_upgrade


@pytest.mark.node
def test_server_upgrade(play: Play) -> None:
    play(server_upgrade)
