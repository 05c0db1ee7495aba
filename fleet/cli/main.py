"""`fleet`: the admin's command line. Whatever goes wrong ends as sentences and an exit code, never as a traceback."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from fleet.cli.commands import LazyGroup
from fleet.cli.output import progress
from fleet.contract.errors import EXIT_CODES, FleetError, InvalidInput
from fleet.contract.written import nearest
from fleet.process import console, umask

_EPILOG = f"""Exit codes: {EXIT_CODES}, 130 interrupted.

\b
Environment: KUBECONFIG, FLEET_NAMESPACE, FLEET_ADMIN_TOKEN_FILE,
FLEET_ADMIN_OIDC_CLIENT_ID; FLEET_OPENBAO=FILE keeps a server's secrets in OpenBao
(docs/operations.md); FLEET_DEBUG=1 shows where an unexpected error came from."""

_OURS = "FLEET_"
VARIABLES = (
    "FLEET_ADMIN_OIDC_CLIENT_ID",
    "FLEET_ADMIN_TOKEN_FILE",
    "FLEET_BUNDLED_IDENTITY",
    "FLEET_DEBUG",
    "FLEET_EXPOSURE",
    "FLEET_IMAGE",
    "FLEET_INGRESS_CLASS",
    "FLEET_NAMESPACE",
    "FLEET_NATS_ADDRESS",
    "FLEET_NATS_IMAGE",
    "FLEET_NATS_REPLICAS",
    "FLEET_OPENBAO",
    "FLEET_POD_USER",
    "FLEET_POSTGRES_IMAGE",
    "FLEET_PROCESS_ROOT",
    "FLEET_PULL_POLICY",
    "FLEET_PULL_SECRET",
    "FLEET_STORAGE_CLASS",
    "FLEET_STORAGE_SIZE",
    "FLEET_TOPOLOGY",
    "FLEET_UPGRADE_ABORT_AFTER",
    "FLEET_UPGRADE_AT_ONCE",
    "FLEET_UPGRADE_GRANT",
    "FLEET_UPGRADE_SOAK",
    "FLEET_WEB",
    "FLEET_WEB_CLIENT_ID",
    "FLEET_WEB_EXPOSURE",
    "FLEET_WEB_HOST",
    "FLEET_ZITADEL_IMAGE",
)
"""What the commands read."""
_NEARLY = 0.85
"""How alike, of 1, a variable that somebody meant as ours is to one of them."""
_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""
_SILENCE = logging.NullHandler()

app = typer.Typer(
    name="fleet",
    cls=LazyGroup,
    help="Containers on fleets of small Linux devices.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from fleet.version import VERSION  # noqa: PLC0415

        console.answer(f"fleet {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@functools.cache
def _commands() -> Callable[..., int | None]:
    """Build all commands once: typer would do it in every call, for 50 ms, and tests call hundreds of times."""
    return typer.main.get_command(app)


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
        _check_variables()
        code = _commands()(prog_name="fleet", standalone_mode=False) or 0
    except typer.TyperException as error:
        progress(*_usage(error))
        return InvalidInput.exit_code
    except FleetError as error:
        progress(*_error_lines(error))
        return error.exit_code
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and _is_of_typer(error):
            return _unread(error)
        if os.environ.get("FLEET_DEBUG"):
            raise
        what = f"unexpected {type(error).__name__}: {error}"
        progress(*_error_lines(FleetError(what, next_step="repeat with FLEET_DEBUG=1, and report it")))
        return 1
    if code == _INTERRUPTED:  # typer makes this of a Ctrl-C
        progress("interrupted; what was done stays, and a repeat goes on from there")
    return code


def _check_variables() -> None:
    """A variable that is nearly one of ours was meant as one; others may begin with our name for reasons of theirs."""
    strange = [name for name in os.environ if name.startswith(_OURS) and name not in VARIABLES]
    for name in sorted(strange):
        near = nearest(
            name.removeprefix(_OURS), [variable.removeprefix(_OURS) for variable in VARIABLES], alike=_NEARLY
        )
        if near:
            raise InvalidInput(
                f"the variable {name} is unknown; did you mean {_OURS}{near}?", next_step=f"unset {name}, or rename it"
            )


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
    progress(*_error_lines(refused))
    return refused.exit_code


def _error_lines(error: FleetError) -> list[str]:
    what, *others = error.lines
    return [f"error: {what}", *others]


def _usage(error: typer.TyperException) -> list[str]:
    """What to say of words that are no command line."""
    message = error.format_message()
    if message.startswith("Usage:"):  # a group alone, which is a question for its help
        return message.splitlines()
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context else "fleet"
    return [f"error: {message}", f"  next: see `{command} --help`"]
