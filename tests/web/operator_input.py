"""What the page hears on its standard input of an operator that lives, and may hang."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO

from fleet.contract.wire import encode
from fleet.web.messages import OperatorHeartbeat


class OperatorInput:
    """Sends signs of life, from a thread of its own: Playwright's loop may run in the other one."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lives, self._over = threading.Event(), threading.Event()
        self._lives.set()
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(1):
            if self._lives.is_set():
                self._pipe.write(encode(OperatorHeartbeat()) + b"\n")
                self._pipe.flush()

    @contextmanager
    def hung(self) -> Generator[None]:
        """It sends nothing meanwhile."""
        self._lives.clear()
        try:
            yield
        finally:
            self._lives.set()

    def close(self) -> None:
        """It ends."""
        self._over.set()
        self._thread.join(60)
