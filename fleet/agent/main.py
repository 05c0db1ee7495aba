"""The command line of the agent."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fleet.agent.grant import BadKey, ask
from fleet.agent.paths import AgentPaths
from fleet.agent.schema import on_disk
from fleet.agent.setup import load
from fleet.agent.slim_imports import import_libraries
from fleet.contract.config import AgentConfig, FleetDeviceAuth
from fleet.contract.errors import EXIT_CODES, FleetError, InvalidInput
from fleet.contract.upgrade import EXIT_STATE_TOO_NEW, STATE_SCHEMA
from fleet.identity.access_token import AccessToken
from fleet.process.console import answer, tell
from fleet.version import VERSION

_SILENCE = logging.NullHandler()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with one of the exit codes of `fleet.contract.errors`."""
    options = _parser().parse_args(argv)
    if options.self_test == (options.command is not None):
        _parser().error("give either 'run', 'doctor' or '--self-test'")
    try:
        paths = _place(options.root)
        if options.command != "run":
            _hush()
        if options.self_test:
            sys.exit(_self_test(paths))
        if options.command == "doctor":
            sys.exit(_doctor(paths))
        sys.exit(asyncio.run(_run(paths)))
    except FleetError as error:
        tell(f"fleet-agent: {error.lines[0]}", *error.lines[1:])
        sys.exit(error.exit_code)
    except Exception:  # the process ends: its log must say why, in one entry that support can read
        import structlog  # noqa: PLC0415 - heavy

        structlog.stdlib.get_logger().exception(
            "the agent ends by an error that it has no answer to; its unit starts it again, and workloads go on"
        )
        sys.exit(FleetError.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet-agent",
        description="Runs on a device: keeps its containers as the fleet wants them, and reports.",
        epilog=f"exit codes: {EXIT_CODES}, {EXIT_STATE_TOO_NEW} self-test found state of a newer agent",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=["run", "doctor"],
        help="run: work until SIGTERM, containers go on after it; doctor: say what is wrong here, and what to do next",
    )
    parser.add_argument("--version", action="version", version=f"fleet-agent {VERSION}")
    parser.add_argument("--self-test", action="store_true", help="check state, configuration, engine, issuer, NATS")
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("FLEET_ROOT") or "/"),
        help="where etc/fleet/agent.json lies (default: $FLEET_ROOT, else /)",
    )
    return parser


def _place(root: Path) -> AgentPaths:
    if not root.is_dir():
        raise InvalidInput(f"{root} is no folder", next_step="give the root that holds etc/fleet/agent.json")
    return AgentPaths(root.absolute())


def _hush() -> None:
    """What matters to a person is an answer; libraries such as asyncio would say more, in words of their own."""
    logging.getLogger().addHandler(_SILENCE)


def _self_test(paths: AgentPaths) -> int:
    from fleet.agent.selftest import self_test  # noqa: PLC0415 - not for `run`

    form = on_disk(paths)
    if form > STATE_SCHEMA:
        answer(
            f"state   FAILED  a newer agent wrote it: it has form {form}, and this one understands up to "
            f"{STATE_SCHEMA}; next: run an agent that is as new"
        )
        return EXIT_STATE_TOO_NEW
    return 0 if asyncio.run(self_test(paths, answer)) else 1


def _doctor(paths: AgentPaths) -> int:
    from fleet.agent.doctor import examine  # noqa: PLC0415 - not for `run`
    from fleet.doctor.findings import State, lines  # noqa: PLC0415

    findings = examine(paths)
    answer(*lines(findings))
    return 1 if any(finding.state is State.FAILED for finding in findings) else 0


def login_now(paths: AgentPaths, config: AgentConfig) -> FleetDeviceAuth:
    """How to log in as it stands on disk: a device may be given a new key while its agents run."""
    try:
        return load(paths).auth
    except FleetError:
        return config.auth


async def _run(paths: AgentPaths) -> int:
    config = load(paths)
    # Its process takes as long to start as our own imports, so both begin now.
    first = asyncio.create_task(ask(config.auth))
    await asyncio.to_thread(_import)
    from fleet.agent.agent import Agent  # noqa: PLC0415
    from fleet.agent.logs.own import OwnLog  # noqa: PLC0415
    from fleet.agent.upgrade.device.installed import installed  # noqa: PLC0415
    from fleet.process import logs  # noqa: PLC0415 - this and the next are there by now
    from fleet.process.struct_types import complete_types  # noqa: PLC0415

    complete_types()
    own_log = OwnLog()
    logs.configure("agent", also=own_log.add)
    early = [first]

    async def token() -> AccessToken:
        return await (early.pop() if early else ask(login_now(paths, config)))

    work = asyncio.create_task(Agent(config, paths, token, installed(paths), own_log).run())
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
    importlib.import_module("fleet.agent.upgrade.device.installed")


def _bad_key(asking: asyncio.Task[AccessToken]) -> BadKey | None:
    error = asking.exception() if asking.done() and not asking.cancelled() else None
    return error if isinstance(error, BadKey) else None


if __name__ == "__main__":
    main()
