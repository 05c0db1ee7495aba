"""A limit on the whole of a request: libraries limit each step of it, and a server can make any number of steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")

WHOLE = 120.0
"""Seconds for one answer to an admin's command: a list of ten thousand objects comes over a slow line in that."""


class Overdue(TimeoutError):  # noqa: N818 - as people say it
    """The whole of a request took too long, though each of its steps may have been in time."""


def in_time(seconds: float, ask: Callable[[], T]) -> T:
    """What `ask` returns or raises.

    It runs in a thread of its own. One that is late is left behind, and ends with the process at the latest: so it must
    hold nothing that another needs.

    Raises:
        Overdue: it took longer than so many seconds.
    """
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            answer = ask()
        except BaseException as error:  # the caller gets it
            done.append(_raising(error))
        else:
            done.append(lambda: answer)

    thread = threading.Thread(target=run, name="a request with a limit", daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise Overdue
    return done[0]()


def _raising(error: BaseException) -> Callable[[], NoReturn]:
    def again() -> NoReturn:
        raise error

    return again
