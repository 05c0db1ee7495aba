"""Pauses between attempts grow, have an end, and differ by chance."""

from __future__ import annotations

import pytest

from fleet.process.backoff import Backoff, pause


def test_pauses_double_up_to_the_longest_until_a_success() -> None:
    backoff = Backoff(0.1, 2)
    for bound in (0.1, 0.2, 0.4, 0.8, 1.6, 2, 2):
        assert bound / 2 <= backoff.next() <= bound
    backoff.reset()
    assert backoff.next() <= 0.1


@pytest.mark.parametrize("failures", [10, 10**9])
def test_the_longest_pause_is_kept_after_any_number_of_failures(failures: int) -> None:
    assert 2.5 <= pause(0.1, 5, failures) <= 5


def test_many_that_fail_at_once_do_not_come_back_at_once() -> None:
    assert len({pause(1, 60, 6) for _ in range(100)}) > 90
