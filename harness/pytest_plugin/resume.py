"""`--fleet-resume FILE`: leave out the tests that FILE says have passed, and add to it each that passes.

A line is written when a test and all that belongs to it has ended well, so a run that is killed loses only the test it
was in. What the file stands for, such as a commit and a target, is up to the caller that names it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import of_os_error


class Resume:
    """The hooks of a run that can be gone on with."""

    def __init__(self, file: Path) -> None:
        """Read what has passed already; no file is fine."""
        self._file = file
        self._passed = set(file.read_text().splitlines()) if file.exists() else set[str]()
        self._well: dict[str, bool] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect what has passed."""
        passed = [item for item in items if item.nodeid in self._passed]
        if passed:
            config.hook.pytest_deselected(items=passed)
            items[:] = [item for item in items if item.nodeid not in self._passed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test that passed, once its teardown did too. Seen by xdist's controller for all workers.

        Raises:
            HarnessError: the file cannot be written.
        """
        self._well[report.nodeid] = self._well.get(report.nodeid, True) and report.passed
        if report.when == "teardown" and self._well.pop(report.nodeid):
            try:
                with self._file.open("a") as file:
                    file.write(f"{report.nodeid}\n")
            except OSError as error:
                raise of_os_error(error, "noting what has passed", self._file) from error
