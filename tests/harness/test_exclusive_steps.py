"""Steps in worlds that share servers go side by side, but for one that ends the servers."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from harness.processes.rwlock import RwLock
from harness.wait import wait_until


class Goer:
    """Takes a turn in a thread of its own."""

    def __init__(self, turns: RwLock, *, alone: bool) -> None:
        self.turns, self.there = turns, threading.Event()
        self._thread = threading.Thread(target=self._take, args=(alone,), daemon=True)
        self._thread.start()

    def _take(self, alone: bool) -> None:
        self.turns.acquire(alone=alone)
        self.there.set()

    def arrives(self) -> None:
        wait_until(self.there.is_set, "it has its turn", timeout=30)
        self._thread.join(10)


@contextmanager
def going(shared: Path, *, alone: bool = False) -> Generator[Goer]:
    with closing(RwLock(shared)) as turns:
        yield Goer(turns, alone=alone)


def gate_is_taken(shared: Path) -> bool:
    with (shared / "turn-gate").open("a") as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_side_by_side(tmp_path: Path) -> None:
    with going(tmp_path) as first, going(tmp_path) as second:
        first.arrives()
        second.arrives()


def test_whoever_wants_to_be_alone_waits_and_comes_before_those_after_it(tmp_path: Path) -> None:
    """Else two workers with short tests would keep it waiting until the end."""
    with going(tmp_path) as first:
        first.arrives()
        with going(tmp_path, alone=True) as alone:
            wait_until(lambda: gate_is_taken(tmp_path), "it waits", timeout=30)
            with going(tmp_path) as later:
                assert not alone.there.is_set()
                first.turns.release()
                alone.arrives()
                assert not later.there.is_set()
                alone.turns.acquire()
                later.arrives()


def test_two_that_want_to_be_alone_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each has a turn among others when it comes to the step that wants more."""
    with closing(RwLock(tmp_path)) as one, closing(RwLock(tmp_path)) as other:
        one.acquire()
        other.acquire()
        first = Goer(one, alone=True)
        wait_until(lambda: gate_is_taken(tmp_path), "the first waits", timeout=30)
        second = Goer(other, alone=True)
        first.arrives()
        assert not second.there.is_set()
        one.release()
        second.arrives()


def test_whoever_is_alone_stays_so_and_whoever_is_not_lets_others_in_between(tmp_path: Path) -> None:
    with closing(RwLock(tmp_path)) as one:
        one.acquire(alone=True)
        with going(tmp_path) as other:
            wait_until(lambda: gate_is_taken(tmp_path), "the other waits", timeout=30)
            one.acquire(alone=True)
            assert not other.there.is_set()
            one.acquire()
            other.arrives()
