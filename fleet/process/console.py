"""The one door by which a process speaks to people: what comes from outside forges no line there, and ends nothing."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from fleet.contract.errors import FleetError
from fleet.contract.printable import one_line


def tell(*lines: str) -> None:
    """Print what happens to standard error, each of `lines` as one line; nothing if it is closed."""
    try:
        _write(sys.stderr, lines)
    except OSError:
        _drop(sys.stderr)


def watched() -> bool:
    """Whether standard error is a terminal, where a person may watch."""
    return bool(sys.stderr) and sys.stderr.isatty()


def answer(*lines: str) -> None:
    """Print on standard output what was asked for; each of the `lines` stays one. Nobody has to read it.

    Raises:
        FleetError: it cannot be written, for a reason other than that the reader is gone.
    """
    try:
        _write(sys.stdout, lines)
    except BrokenPipeError:
        _drop(sys.stdout)
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> FleetError:
    """What to say when standard output takes no answer; what was asked for is done by then."""
    _drop(sys.stdout)
    return FleetError(
        f"the answer cannot be written to standard output: {error.strerror}",
        next_step="write it elsewhere; what was asked for is done",
    )


def _write(stream: TextIO | None, lines: tuple[str, ...]) -> None:
    if stream is None:  # it was closed before we began
        return
    encoding = stream.encoding or "utf-8"
    text = "".join(f"{one_line(line)}\n" for line in lines)
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _drop(stream: TextIO) -> None:
    """Let Python's end find nothing that it could complain of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
