"""Attack: `python -m harness.devices.hostile --config pi-3.json --seed 7 --seconds 20`.

The last line is JSON, an `Assault`. It attacks a server of this machine only, and ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec

from fleet.contract.config import AgentConfig, load_config
from harness.devices.hostile.assault import assault, names
from harness.errors import HarnessError


def main(argv: list[str]) -> int:
    """Run one assault."""
    options = _arguments(argv)
    config = load_config(options.config, AgentConfig)
    try:
        done = asyncio.run(
            assault(config, options.seed, options.seconds, neighbours=options.neighbour, only=options.attack)
        )
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{msgspec.json.encode(done).decode()}\n")
    return 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.devices.hostile", description="Play a stolen device.")
    parser.add_argument("--config", type=Path, required=True, help="the stolen device's configuration file")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same choices")
    parser.add_argument("--seconds", type=float, default=20, help="after these it ends by itself")
    parser.add_argument("--neighbour", action="append", default=[], metavar="ID", help="another device's id")
    parser.add_argument("--attack", action="append", default=[], choices=names(), help="only this one; may be repeated")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
