"""The one wait, with a clock that only moves when it is slept on."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from harness import wait
from harness.errors import Unanswered
from harness.wait import WaitFailed, WaitTimeout, stretch, stretched, wait_until


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Function: minutes pass in microseconds."""
    fake = Clock()
    monkeypatch.setattr(wait, "time", fake)
    return fake


def looks(*seen: object) -> Iterator[object]:
    yield from seen


def test_it_returns_the_observation_that_satisfied(clock: Clock) -> None:
    """Two looks in vain cost two intervals."""
    probe = looks([], [], ["web"])
    assert wait_until(lambda: next(probe), "web runs", timeout=5, interval=0.5) == ["web"]
    assert clock.now == 101


def test_success_must_hold_in_a_row() -> None:
    """One relapse starts the count anew."""
    probe = looks(True, True, False, True, True, True)
    wait_until(lambda: next(probe), "it is steady", timeout=5, successes=3)
    assert list(probe) == []


def test_a_time_out_names_condition_limit_and_last_state(clock: Clock) -> None:
    """It is the product's failure: an AssertionError."""
    with pytest.raises(WaitTimeout) as caught:
        wait_until(lambda: {"phase": "Pending"}, "web runs on pi-1", timeout=3, until=lambda _: False)
    assert str(caught.value) == "not within 3 s: web runs on pi-1\n  last seen: {'phase': 'Pending'}"
    assert isinstance(caught.value, AssertionError)
    assert clock.now == pytest.approx(103)


def test_it_looks_once_more_at_the_deadline() -> None:
    """An interval longer than the limit does not hide a success at its end."""
    probe = looks(False, True)
    assert wait_until(lambda: next(probe), "it is there", timeout=1, interval=60)


def test_an_error_predicate_fails_early_and_says_why(clock: Clock) -> None:
    """Nobody waits for what cannot come."""
    with pytest.raises(WaitFailed, match=r"will not come: web runs\n  because: ImageNotFound\n  last seen: 'Failed'"):
        wait_until(lambda: "Failed", "web runs", timeout=60, until=lambda _: False, error=lambda _: "ImageNotFound")
    assert clock.now == 100


def test_a_probe_without_an_answer_counts_as_not_yet() -> None:
    """Also when it comes between two successes; the time-out quotes it."""
    answers = looks(True, Unanswered("the API server is away", next_step="wait"), True, True)

    def probe() -> object:
        seen = next(answers)
        if isinstance(seen, Exception):
            raise seen
        return seen

    wait_until(probe, "it is there", timeout=5, successes=2)
    with pytest.raises(WaitTimeout, match="last seen: the API server is away"):
        wait_until(lambda: (_ for _ in ()).throw(Unanswered("the API server is away", next_step="")), "x", timeout=1)


def test_any_other_exception_of_a_probe_is_a_defect_and_passes_through() -> None:
    """A wait never hides one."""
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0, "never", timeout=5)


def test_only_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Ten equal looks are one line."""
    probe = looks(*[0] * 10, *[1] * 10, 2)
    with caplog.at_level(logging.DEBUG, "fleet.wait"):
        wait_until(lambda: next(probe), "two", timeout=5, until=lambda seen: seen == 2)
    assert [record.message for record in caplog.records if record.levelno == logging.DEBUG] == [
        f"waiting for two: {seen}" for seen in (0, 1, 2)
    ]


def test_a_huge_observation_is_shown_in_part() -> None:
    """A megabyte of last state helps nobody."""
    with pytest.raises(WaitTimeout, match=r"\.\.\. \(1000002 characters\)"):
        wait_until(lambda: "x" * 10**6, "less", timeout=0, until=lambda _: False)


def test_the_slowest_part_of_a_world_says_how_long_things_may_take() -> None:
    with stretched(5), stretched() as board:
        assert stretch() == 5
        board(7)
        assert stretch() == 7
    assert stretch() == 1
