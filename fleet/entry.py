"""Where the agent's command line begins: it answers `--version` before it pays for the rest."""

from __future__ import annotations

import sys

from fleet.process.umask import tighten
from fleet.version import VERSION


def main() -> None:
    """The agent's command line; see `fleet.agent.main`."""
    if sys.argv[1:] == ["--version"]:
        print(f"fleet-agent {VERSION}")  # noqa: T201 - the command line speaks
        return
    tighten()
    from fleet.agent.main import main as run  # noqa: PLC0415 - half a second that `--version` does not need

    run()
