"""Allure's result files: every test that ran has one, with an identity of its own, and its text can be shown.

Three faults of `allure-pytest` 2.16 are closed here. It writes a parameter of type `bytes` as its type, so that
results of different cases look like repeats of one. It fails on lone surrogates. It writes nothing for a test whose
worker died. `docs/decisions/001-libraries.md` lists the private parts that are replaced for this.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import allure_commons
import msgspec
from allure_commons.logger import AllureFileLogger
from allure_commons.types import LabelType
from attr import asdict

from fleet.contract.printable import each, lines
from harness.processes.spec import write_atomic

Outcome = Literal["passed", "failed", "skipped"]
CASE = "case"
"""The parameter that tells the cases of a test apart: pytest's id of the case."""
_MODE = 0o644
"""As files are made by default: who collects reports may be another user."""
NOT_PLAYED = "not played"
"""The verdict label of a scenario that the run left out."""


class ResultWriter(AllureFileLogger):  # pyright: ignore[reportUntypedBaseClass] - allure_commons has no types
    """Writes Allure's files; `chapters` are the runbook's chapters in its order, which the page keeps."""

    def __init__(self, folder: Path, chapters: Iterable[str]) -> None:
        """Write into `folder`."""
        super().__init__(str(folder))
        self._folder = folder
        self._numbered = numbered(chapters)

    def _report_item(self, item: Any) -> None:  # noqa: ANN401 - Allure's models have no types
        for label in getattr(item, "labels", ()):
            if label.name == LabelType.FEATURE:
                label.value = self._numbered.get(label.value, label.value)
        data = each(asdict(item, filter=lambda _, value: bool(value) or value is False), lines)
        name = item.file_pattern.format(prefix=uuid.uuid4())
        write_atomic(self._folder / name, msgspec.json.encode(data), mode=_MODE)

    @allure_commons.hookimpl
    def report_attached_data(self, body: str | bytes, file_name: str) -> None:
        """Write an attachment."""
        data = lines(body).encode() if isinstance(body, str) else bytes(body)
        write_atomic(self._folder / file_name, data, mode=_MODE)


def numbered(chapters: Iterable[str]) -> dict[str, str]:
    """Each chapter with its number in front: the page sorts by name, and a person reads in the runbook's order."""
    return {chapter: f"{number:02d} {chapter}" for number, chapter in enumerate(dict.fromkeys(chapters), 1)}


def history_id(full_name: str, parameters: Iterable[Any], original_values: object) -> str:
    """Stand in for `allure_pytest.utils.get_history_id`: the same for the same case in every run.

    `original_values` is ignored: an object has another text in each run, and a lone surrogate cannot be hashed.
    """
    del original_values
    case = next((str(parameter.value) for parameter in parameters if parameter.name == CASE), "")
    return hashlib.sha256(f"{full_name}[{case}]".encode("utf-8", "backslashreplace")).hexdigest()[:32]


def write_result(folder: Path, full_name: str, status: str, why: str, labels: Mapping[str, str]) -> None:
    """Write the result of a test that did not write its own; `full_name` is its node id, or the scenario's title."""
    now = int(time.time() * 1000)
    result = {
        "uuid": str(uuid.uuid4()),
        "name": full_name.rpartition("::")[2],
        "fullName": full_name,
        "status": status,
        "statusDetails": {"message": lines(why)},
        "start": now,
        "stop": now,
        "labels": [{"name": name, "value": value} for name, value in labels.items()],
    }
    write_atomic(folder / f"{result['uuid']}-result.json", msgspec.json.encode(result), mode=_MODE)


class _Label(msgspec.Struct):
    name: str
    value: str


class _Result(msgspec.Struct, rename="camel"):
    status: str = ""
    full_name: str = ""
    parameters: list[dict[str, Any]] = []
    labels: list[_Label] = []


def check(results: Path, outcomes: Mapping[str, Outcome]) -> str:
    """Compare the result files with what pytest counted; returns what differs, or nothing.

    Args:
        results: Allure's result files.
        outcomes: The outcome of each test, by its node id.
    """
    found = [msgspec.json.decode(path.read_bytes(), type=_Result) for path in results.glob("*-result.json")]
    ran = [result for result in found if _Label("verdict", NOT_PLAYED) not in result.labels]
    problems: list[str] = []
    written = Counter("failed" if result.status == "broken" else result.status or "failed" for result in ran)
    counted = Counter[str](outcomes.values())
    if written != counted:
        problems.append(f"pytest counted {_counts(counted)}; the results say {_counts(written)}")
    identities = Counter((result.full_name, msgspec.json.encode(result.parameters)) for result in ran)
    for (name, _), times in identities.items():
        if times > 1:
            problems.append(f"{times} results look like repeats of one test: {name}")
    return "; ".join(problems)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in sorted(counts)) or "nothing"
