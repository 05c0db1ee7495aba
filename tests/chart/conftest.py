"""The chart in a folder, and the real helm."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.chart.files import chart_files
from harness.binaries import resolve
from tests.support.helm import Helm


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart's folder."""
    folder = tmp_path_factory.mktemp("chart") / "fleet"
    for path, text in chart_files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture
def helm(tmp_path: Path, chart: Path) -> Helm:
    return Helm(resolve("helm"), tmp_path, chart)
