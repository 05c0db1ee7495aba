"""`fleet`: the admin's command line. Whatever goes wrong ends as sentences and an exit code, never as a traceback."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

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

        print(f"fleet {VERSION}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="and end")] = False,
) -> None:
    pass


def main() -> None:
    """The console script."""
    code = _run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it is gone, and Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run() -> int:
    try:
        code: int = app(prog_name="fleet", standalone_mode=False) or 0
    except typer.TyperException as error:
        progress(_usage(error))
        return InvalidInput.exit_code
    except FleetError as error:
        progress(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:
        if os.environ.get("FLEET_DEBUG"):
            raise
        progress(f"error: unexpected {type(error).__name__}: {error}\n  next: repeat with FLEET_DEBUG=1, and report it")
        return 1
    if code == _INTERRUPTED:  # typer makes this of a Ctrl-C
        progress("interrupted; what was done stays, and a repeat goes on from there")
    return code


def _usage(error: typer.TyperException) -> str:
    """What to say of words that are no command line."""
    said = error.format_message()
    if said.startswith("Usage:"):  # a group alone, which is a question for its help
        return said
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context else "fleet"
    return f"error: {said}\n  next: see `{command} --help`"
