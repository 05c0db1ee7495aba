"""SIGTERM ends a run as Ctrl-C does: worlds are removed, the report is written, and the run says why it ended."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

WORKERS = pytest.StashKey[list[int]]()
"""On the controller of xdist: the process ids of its workers."""


def end_in_order(config: pytest.Config) -> None:
    """End as Ctrl-C does: worlds are removed, the report is written, and the last lines say what happened.

    A cancelled job of a CI service sends SIGTERM, and kills a little later.
    """

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; another would interrupt the end
        for worker in config.stash[WORKERS]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
        raise KeyboardInterrupt("SIGTERM: the run was stopped from outside")

    before = signal.signal(signal.SIGTERM, stop)

    def restore() -> None:
        signal.signal(signal.SIGTERM, before)

    config.add_cleanup(restore)
