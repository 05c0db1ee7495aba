"""How slow a machine is follows from a piece of work on it, and every limit with it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.devices.vm.speed import booting, here, measured
from harness.errors import TargetUnavailable
from harness.scenario.command import Result


def answering(stdout: str, code: int = 0, stderr: str = ""):  # noqa: ANN201 - what runs a command
    def run(argv: Sequence[str]) -> Result:
        return Result(" ".join(argv), code, stdout, stderr, 0.0)

    return run


@pytest.mark.parametrize(
    ("seconds", "factor"), [("0.001", 1.0), ("0.17", 1.0), ("0.68", 1.0), ("1.36", 2.0), ("3.4\n", 5.0)]
)
def test_limits_grow_once_their_room_is_used_up(seconds: str, factor: float) -> None:
    assert measured(answering(seconds)) == pytest.approx(factor)


@pytest.mark.parametrize(("seconds", "factor"), [(0.5, 1.0), (12, 1.0), (30, 2.5)])
def test_a_boot_has_its_factor_from_a_kernel(seconds: float, factor: float) -> None:
    assert booting(seconds) == pytest.approx(factor)


def test_a_machine_on_which_no_limit_says_anything_is_refused() -> None:
    with pytest.raises(TargetUnavailable, match=r"(?s)600 times as slow as usual.*run fewer things"):
        measured(answering("102"))
    with pytest.raises(TargetUnavailable, match="600 times as slow"):
        booting(1800)


@pytest.mark.parametrize("stdout", ["", "soon"])
def test_a_machine_without_python_is_told_of(stdout: str) -> None:
    with pytest.raises(TargetUnavailable, match=r"(?s)speed cannot be measured.*apt-get install python3"):
        measured(answering(stdout, 127, "sh: python3: not found"))


def test_the_work_can_be_done_on_this_machine() -> None:
    assert 1.0 <= here() < 50
