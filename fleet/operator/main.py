"""`fleet-operator --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from fleet.contract.config import OperatorConfig, load_config
from fleet.contract.errors import FleetError
from fleet.operator.service import serve
from fleet.process import logs
from fleet.process.console import tell
from fleet.process.struct_types import complete_types
from fleet.process.umask import tighten


def main() -> None:
    """Run until SIGTERM; exit codes are those of `fleet.contract.errors`."""
    tighten()
    parser = argparse.ArgumentParser(
        prog="fleet-operator",
        description="Turns Device and FleetDeployment objects into desired state in NATS, and reports into status.",
        epilog="example: fleet-operator --config /etc/fleet/operator.json",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="configuration, mode 0600")
    arguments = parser.parse_args()
    logs.configure("operator")
    complete_types()  # what is read in threads of its own is decoded there
    try:
        asyncio.run(serve(load_config(arguments.config, OperatorConfig)))
    except FleetError as error:
        tell(f"fleet-operator: {error.lines[0]}", *error.lines[1:])
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
