"""What goes on beside a measurement, in a process of its own: it takes none of the time of the one that measures."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any

from fleet.nats.bus import Login

_BEGUN_WITHIN = 300.0
Work = Callable[[Login, Sequence[str], Event, Event], Coroutine[Any, Any, None]]
"""Goes on in a process of its own from its first event until the second one is set."""


@contextmanager
def apart(work: Work, login: Login, names: Sequence[str]) -> Generator[None]:
    """Have something go on in a process of its own.

    Raises:
        RuntimeError: it did not begin.
    """
    spawn = multiprocessing.get_context("spawn")
    begun, stop = spawn.Event(), spawn.Event()
    process = spawn.Process(target=_run, args=(work, login, names, begun, stop), daemon=True)
    process.start()
    try:
        if not begun.wait(_BEGUN_WITHIN):
            raise RuntimeError(f"it did not begin within {_BEGUN_WITHIN} s: {work.__name__}")
        yield
    finally:
        stop.set()
        process.join()


def _run(work: Work, login: Login, names: Sequence[str], begun: Event, stop: Event) -> None:
    asyncio.run(work(login, names, begun, stop))
