"""Folders in which others work: what they remove meanwhile is left out, and the rest is seen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.processes.files import files_below, folders_below

Removal = Callable[[], object]


def grown(top: Path) -> None:
    for name in ("a", "b", "c"):
        (top / name / "deep").mkdir(parents=True)
        (top / name / "deep" / "file").write_text(name)


def names(found: Iterator[Path], top: Path, remove: Removal) -> set[str]:
    """What is found, when a folder goes after the first of them was seen."""
    first = next(found)
    remove()
    return {path.relative_to(top).as_posix() for path in (first, *found)}


def test_a_folder_that_goes_meanwhile_is_left_out(tmp_path: Path) -> None:
    grown(tmp_path)
    seen = names(folders_below(tmp_path), tmp_path, lambda: shutil.rmtree(tmp_path / "b"))
    assert {".", "a", "a/deep", "c", "c/deep"} <= seen
    assert "b/deep" not in seen


def test_a_file_that_goes_meanwhile_is_left_out(tmp_path: Path) -> None:
    grown(tmp_path)
    (tmp_path / "first").touch()
    seen = names((path for path, _ in files_below(tmp_path)), tmp_path, lambda: shutil.rmtree(tmp_path / "b"))
    assert seen == {"first", "a/deep/file", "c/deep/file"}


def test_a_file_that_goes_between_its_name_and_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown(tmp_path)
    real = Path.lstat

    def lstat(path: Path) -> object:
        if path.parts[-3] == "b":
            path.unlink()
        return real(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert {path.parts[-3] for path, _ in files_below(tmp_path)} == {"a", "c"}


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    assert list(files_below(tmp_path / "none")) == []
