"""The report's plugin, for every test of the repository."""

from __future__ import annotations

pytest_plugins = ["reports.plugin"]
