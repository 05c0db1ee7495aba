"""`fleet`: the admin's command line. Whatever goes wrong ends as sentences and an exit code, never as a traceback."""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from fleet import console, umask
from fleet.cli import agent, deployment, device, login, server
from fleet.cli.output import progress
from fleet.contract.errors import FleetError, InvalidInput

_EPILOG = """\b
Exit codes: 0 done, 1 failed, 2 refused input, 3 no server installed, 4 not found,
5 exists already or is another's, 6 a server does not answer, 7 not permitted,
8 timed out, 130 interrupted.

\b
Environment: KUBECONFIG, FLEET_NAMESPACE, FLEET_ADMIN_TOKEN_FILE,
FLEET_ADMIN_OIDC_CLIENT_ID; FLEET_DEBUG=1 shows where an unexpected error came from."""

_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""
_SILENCE = logging.NullHandler()

app = typer.Typer(
    name="fleet",
    help="Containers on fleets of small Linux devices.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(server.app, name="server")
app.add_typer(device.app, name="device")
app.add_typer(deployment.app, name="deployment")
app.add_typer(agent.app, name="agent")
app.command("login")(login.login)


def _show_version(wanted: bool) -> None:
    if wanted:
        from fleet.version import VERSION  # noqa: PLC0415

        console.answer(f"fleet {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="and end")] = False,
) -> None:
    pass


def main() -> None:
    """The console script."""
    umask.tighten()
    _prepare_streams()
    sys.exit(_run())


def _prepare_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # None where it was closed before we began
            stream.reconfigure(errors="backslashreplace")
    if not os.environ.get("FLEET_DEBUG"):
        # What matters to a person is raised as an error; libraries would say it again, in words of their own.
        logging.getLogger().addHandler(_SILENCE)


def _run() -> int:
    try:
        code: int = app(prog_name="fleet", standalone_mode=False) or 0
    except typer.TyperException as error:
        progress(*_usage(error))
        return InvalidInput.exit_code
    except FleetError as error:
        progress(*_said(error))
        return error.exit_code
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and _is_of_typer(error):
            return _unread(error)
        if isinstance(error, ImportError) and "SOCKS" in str(error):  # httpx reads the variables itself
            step = "set no_proxy for the identity provider, or name an HTTP proxy"
            refused = InvalidInput("ALL_PROXY or HTTPS_PROXY names a SOCKS proxy, unusable here", next_step=step)
            progress(*_said(refused))
            return InvalidInput.exit_code
        if os.environ.get("FLEET_DEBUG"):
            raise
        what = f"unexpected {type(error).__name__}: {error}"
        progress(*_said(FleetError(what, next_step="repeat with FLEET_DEBUG=1, and report it")))
        return 1
    if code == _INTERRUPTED:  # typer makes this of a Ctrl-C
        progress("interrupted; what was done stays, and a repeat goes on from there")
    return code


def _is_of_typer(error: OSError) -> bool:
    """Whether it came from typer itself, which does nothing but print help."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("typer.")


def _unread(error: OSError) -> int:
    """The help of a command could not be printed; typer does that past our door."""
    refused = console.unwritable(error)
    if isinstance(error, BrokenPipeError):
        return 0
    progress(*_said(refused))
    return refused.exit_code


def _said(error: FleetError) -> list[str]:
    what, *others = error.lines
    return [f"error: {what}", *others]


def _usage(error: typer.TyperException) -> list[str]:
    """What to say of words that are no command line."""
    said = error.format_message()
    if said.startswith("Usage:"):  # a group alone, which is a question for its help
        return said.splitlines()
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context else "fleet"
    return [f"error: {said}", f"  next: see `{command} --help`"]
