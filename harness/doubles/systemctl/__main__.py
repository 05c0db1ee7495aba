"""The command `systemctl` of a device: `python -m harness.doubles.systemctl`.

Plays `daemon-reload`, `enable`, `disable` (both with `--now`), `start`, `stop`, `restart`, `kill`, `reset-failed`,
`is-active`, `is-failed`, `is-enabled`, `status`, `show`, `list-units`, with systemctl's exit codes (3: not active, 4:
no such unit, 5: not loaded) and its habit of using a unit as it was loaded until the next `daemon-reload`. The device
is FLEET_ROOT, the world FLEET_WORLD.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path

from harness.doubles.systemctl.manager import Refused, Systemd
from harness.errors import HarnessError, Misused

_SUB = {"active": "running", "activating": "auto-restart", "failed": "failed", "inactive": "dead"}


def main(argv: list[str]) -> int:
    """Play one command line."""
    options = _parser().parse_intermixed_args(argv)
    systemd = Systemd(Path(os.environ["FLEET_ROOT"]), Path(os.environ["FLEET_WORLD"]), dict(os.environ))
    try:
        if options.verb == "daemon-reload":
            systemd.daemon_reload()
            return 0
        if options.verb == "list-units":
            return _list(systemd, options)
        units = [unit for word in options.units for unit in _named(systemd, word)]
        return max((_one(systemd, unit, options) for unit in units), default=0)
    except Refused as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.code
    except (HarnessError, AssertionError) as error:
        print(f"Failed to {options.verb}: {error}", file=sys.stderr)  # noqa: T201
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - it does not return
        raise SystemExit(f"systemctl double: cannot play this: {message}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="systemctl", allow_abbrev=False)
    parser.add_argument("verb")
    parser.add_argument("units", nargs="*")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("-s", "--signal", default="SIGTERM")
    parser.add_argument("--kill-whom", "--kill-who", choices=["main", "all"], default="all")
    parser.add_argument("-p", "--property", action="append", default=[])
    parser.add_argument("--state", default="")
    for flag in ("--now", "--no-block", "--value", "--all", "--plain", "--no-legend", "--no-pager", "--system"):
        parser.add_argument(flag, action="store_true")
    return parser


def _named(systemd: Systemd, word: str) -> list[str]:
    """A unit's full name; a pattern stands for the units that were started (systemctl(1), "loaded in memory")."""
    name = word if word.endswith((".service", ".target")) else f"{word}.service"
    return [unit for unit in systemd.known() if fnmatch(unit, name)] if "*" in word else [name]


def _one(systemd: Systemd, unit: str, options: argparse.Namespace) -> int:
    if options.verb in {"is-active", "is-failed", "status", "is-enabled", "show"}:
        return _ask(systemd, unit, options)
    acts = {
        "enable": lambda: systemd.enable(unit),
        "disable": lambda: systemd.disable(unit),
        "start": lambda: systemd.start(unit, wait=not options.no_block),
        "stop": lambda: systemd.stop(unit, wait=not options.no_block),
        "restart": lambda: systemd.restart(unit),
        "reset-failed": lambda: systemd.reset_failed(unit),
        "kill": lambda: systemd.kill(unit, _signal(options.signal), alone=options.kill_whom == "main"),
    }
    if options.verb not in acts:
        raise Refused(1, f"Unknown command verb '{options.verb}' (systemctl double).")
    acts[options.verb]()
    if options.now and options.verb == "enable":
        systemd.start(unit)
    elif options.now and options.verb == "disable":
        systemd.stop(unit)
    return 0


def _signal(word: str) -> signal.Signals:
    if word.isdigit():
        return signal.Signals(int(word))
    return signal.Signals[word if word.startswith("SIG") else f"SIG{word}"]


def _ask(systemd: Systemd, unit: str, options: argparse.Namespace) -> int:
    exists = systemd.exists(unit)
    state = systemd.state(unit) if exists else "inactive"
    if options.verb == "is-enabled":
        answer, code = ("enabled", 0) if unit in systemd.enabled() else ("disabled", 1)
    elif options.verb == "is-failed":
        answer, code = state, 0 if state == "failed" else 1
    elif options.verb == "show":
        answer, code = _shown(systemd, unit, state, options), 0
    elif options.verb == "status":
        if not exists:
            raise Refused(4, f"Unit {unit} could not be found.")
        answer, code = f"{unit}\n     Active: {state}", 0 if state == "active" else 3
    else:
        answer, code = state, 0 if state == "active" else 3
    if not options.quiet:
        print(answer)  # noqa: T201
    return code


def _shown(systemd: Systemd, unit: str, state: str, options: argparse.Namespace) -> str:
    status = systemd.status(unit)
    last = status.exits[-1].code if status and status.exits else 0
    properties = {
        "Id": unit,
        "LoadState": "loaded" if systemd.exists(unit) else "not-found",
        "ActiveState": state,
        "SubState": _SUB[state],
        "MainPID": status.pid if status and status.pid else 0,
        "NRestarts": max(0, status.starts - 1) if status else 0,
        "ExecMainStatus": abs(last),
        "Result": (status.result if status else "") or "success",
    }
    names = [name for word in options.property for name in word.split(",")] or list(properties)
    return "\n".join(
        str(properties[name]) if options.value else f"{name}={properties[name]}" for name in names if name in properties
    )


def _list(systemd: Systemd, options: argparse.Namespace) -> int:
    for unit in systemd.known():
        state = systemd.state(unit)
        shown = state != "inactive" or options.all or "inactive" in options.state.split(",")
        named = not options.units or any(fnmatch(unit, pattern) for pattern in options.units)
        if shown and named and (not options.state or state in options.state.split(",")):
            print(f"{unit} loaded {state} {_SUB[state]} {unit}")  # noqa: T201
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyError, Misused) as error:
        sys.exit(f"systemctl double: {error}: it runs only on a device of the harness")
