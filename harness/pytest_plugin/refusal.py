"""Scenarios that ask for what the asked-for kind of device cannot do are refused once all tests are collected."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import TargetUnavailable
from harness.pytest_plugin import plugin


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse scenarios that ask for what the asked-for kind of device cannot do, before anything is made.

    Raises:
        UsageError: there are some; it names each, and what it asks for. Or the file of the lab is wrong.
    """
    kinds = plugin.wanted_devices(session.config)
    if not kinds:
        return
    from harness.devices.kinds import CAPABILITIES, refusals  # noqa: PLC0415
    from harness.devices.lab_file import read_lab  # noqa: PLC0415
    from harness.scenario.scenario import Scenario  # noqa: PLC0415

    file: Path | None = session.config.getoption("fleet_lab")
    try:
        can = read_lab(file).capabilities if file else CAPABILITIES
    except TargetUnavailable as error:
        raise pytest.UsageError(str(error)) from error
    refused: list[str] = []
    for item in session.items:
        scenario = (
            item.callspec.params.get("scenario")
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else None
        )
        if isinstance(scenario, Scenario):
            marked = {kind for kind in kinds if item.get_closest_marker(kind)}
            refused += refusals(marked, {scenario.id: scenario.asks}, can)
    if refused:
        listed = "\n".join(f"  - {sentence}" for sentence in dict.fromkeys(refused))
        raise pytest.UsageError(
            f"scenarios ask for what their device cannot do:\n{listed}\n  next: leave them out by -k"
        )
