"""The page of the matrix names every row, and the tests that there are."""

from __future__ import annotations

from tests.upgrade.matrix.page import LAST, PAGE, ROWS, render, row_tests


def test_every_row_has_a_test() -> None:
    assert [row.number for row in ROWS] == list(range(1, LAST + 1))
    assert set(row_tests()) == set(range(1, LAST + 1))


def test_the_page_names_the_tests_that_there_are() -> None:
    told = [line.split("|")[1:5] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert told == [line.split("|")[1:5] for line in render({}).splitlines() if line.startswith("| ")]
