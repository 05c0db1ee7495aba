"""`python -m benchmarks [--list] [--seconds N] [NAME ...]`: print tables, and write `out/benchmarks`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable

from benchmarks import (
    agent,
    callout,
    fleet,
    flooded,
    help,  # noqa: A004 - a benchmark's name
    hostile,
    logs,
    node,
    revoke,
    rollout,
    rotation,
    runbook,
    storm,
    upgrade,
    web,
)
from benchmarks.report import Table, publish, this_machine, write_readme


def main(argv: list[str]) -> int:
    """Run the benchmarks named; or all of them, and write `benchmarks/README.md` from what they measured."""
    options = _arguments(argv)
    every: dict[str, Callable[[], Table]] = {
        "help": help.run,
        "runbook": runbook.run,
        "node": node.run,
        "revoke": revoke.run,
        "rollout": rollout.run,
        "rotation": lambda: rotation.run(options.devices[0]),
        "rotation-node3": lambda: rotation.run(options.devices[0], "node:3"),
        "logs": logs.run,
        "callout": callout.run,
        "storm": storm.run,
        "fleet": lambda: fleet.run(options.devices),
        "agent": lambda: agent.run(options.seconds),
        "upgrade": lambda: upgrade.run(options.cycles),
        "web": lambda: web.run(options.devices[0]),
        "flooded": flooded.run,
        "hostile": lambda: hostile.run(options.seeds, options.siege),
    }
    unknown = [name for name in options.names if name not in every]
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}\n  next: use {', '.join(every)}", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(every))
        return 0
    logging.getLogger().addHandler(logging.NullHandler())  # else asyncio's warnings stand between the results
    shown: list[str] = []
    for name in options.names or every:
        machine, started = this_machine(), time.monotonic()
        shown.append(publish(every[name](), machine, started))
    if not options.names:
        write_readme(shown)
    return 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what the README claims.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them without a name")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument(
        "--seconds", type=float, default=agent.SECONDS, metavar="N", help="how long the idle agent is watched (300)"
    )
    parser.add_argument(
        "--cycles", type=int, default=upgrade.CYCLES, metavar="N", help="how many upgrades and rollbacks (1000)"
    )
    parser.add_argument(
        "--devices", type=int, nargs="+", default=fleet.SIZES, metavar="N", help="how large the fleets are (1000 10000)"
    )
    parser.add_argument("--seeds", type=int, default=hostile.SEEDS, metavar="N", help="how many sieges (10)")
    parser.add_argument(
        "--siege", type=float, default=hostile.SECONDS, metavar="N", help="how many seconds each siege lasts (360)"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
