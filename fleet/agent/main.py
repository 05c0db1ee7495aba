"""The command line of the agent."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fleet.agent.grant import BadKey, Token, ask
from fleet.agent.lean import import_libraries
from fleet.agent.place import Place
from fleet.agent.schema import on_disk
from fleet.agent.setup import load
from fleet.console import answer, tell
from fleet.contract.config import AgentConfig, FleetDeviceAuth
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.upgrade import EXIT_STATE_TOO_NEW, STATE_SCHEMA
from fleet.version import VERSION


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with one of the exit codes of `fleet.contract.errors`."""
    options = _parser().parse_args(argv)
    if options.self_test == (options.command == "run"):
        _parser().error("give either 'run' or '--self-test'")
    try:
        place = _place(options.root)
        if options.self_test:
            sys.exit(_self_test(place))
        sys.exit(asyncio.run(_run(place)))
    except FleetError as error:
        tell(f"fleet-agent: {error.lines[0]}", *error.lines[1:])
        sys.exit(error.exit_code)
    except Exception:
        import structlog  # noqa: PLC0415 - heavy

        structlog.stdlib.get_logger().exception(
            "the agent ends by an error that it has no answer to; its unit starts it again, and workloads go on"
        )
        sys.exit(FleetError.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet-agent",
        description="Runs on a device: keeps its containers as the fleet wants them, and reports.",
        epilog="exit codes: 0 good, 1 self-test or agent failed, 2 bad configuration, 4 no configuration, "
        "87 self-test found state of a newer agent",
    )
    parser.add_argument("command", nargs="?", choices=["run"], help="work until SIGTERM; containers go on after it")
    parser.add_argument("--version", action="version", version=f"fleet-agent {VERSION}")
    parser.add_argument("--self-test", action="store_true", help="check state, configuration, engine, issuer, NATS")
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("FLEET_ROOT", "/")),
        help="where etc/fleet/agent.json lies (default: $FLEET_ROOT, else /)",
    )
    return parser


def _place(root: Path) -> Place:
    if not root.is_dir():
        raise InvalidInput(f"{root} is no folder", next_step="give the root that holds etc/fleet/agent.json")
    return Place(root.absolute())


def _self_test(place: Place) -> int:
    from fleet.agent.selftest import self_test  # noqa: PLC0415 - not for `run`

    form = on_disk(place)
    if form > STATE_SCHEMA:
        answer(
            f"state   FAILED  a newer agent wrote it: it has form {form}, and this one understands up to "
            f"{STATE_SCHEMA}; next: run an agent that is as new"
        )
        return EXIT_STATE_TOO_NEW
    return 0 if asyncio.run(self_test(place, answer)) else 1


def login_now(place: Place, config: AgentConfig) -> FleetDeviceAuth:
    """How to log in as it stands on disk: a device may be given a new key while its agents run."""
    try:
        return load(place).auth
    except FleetError:
        return config.auth


async def _run(place: Place) -> int:
    config = load(place)
    # Its process takes as long to start as our own imports, so both begin now.
    first = asyncio.create_task(ask(config.auth))
    await asyncio.to_thread(_import)
    from fleet import logs  # noqa: PLC0415 - this and the next are there by now
    from fleet.agent.agent import Agent  # noqa: PLC0415
    from fleet.agent.upgrade.installed import installed  # noqa: PLC0415

    logs.configure("agent")
    early = [first]

    async def token() -> Token:
        return await (early.pop() if early else ask(login_now(place, config)))

    work = asyncio.create_task(Agent(config, place, token, installed(place)).run())
    first.add_done_callback(lambda _: work.cancel() if _bad_key(first) else None)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if error := _bad_key(first):
            raise error from None
        if not work.cancelled():
            raise
        return 0


def _import() -> None:
    import_libraries()
    importlib.import_module("fleet.agent.agent")
    importlib.import_module("fleet.agent.upgrade.installed")


def _bad_key(asked: asyncio.Task[Token]) -> BadKey | None:
    error = asked.exception() if asked.done() and not asked.cancelled() else None
    return error if isinstance(error, BadKey) else None


if __name__ == "__main__":
    main()
