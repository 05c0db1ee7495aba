"""A secret with two versions in files: a crash anywhere in a step leaves what was before or after it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.contract.errors import Conflict, InvalidInput, NotPermitted
from fleet.secrets.draft import DraftSecretStore
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import Change
from tests.secrets.steps import NAME, kept, shown, take

FORWARD = (Change.STAGE, Change.PROMOTE, Change.RETIRE)
BACK = (Change.STAGE, Change.PROMOTE, Change.DEMOTE, Change.DROP)


@pytest.fixture
def store(tmp_path: Path) -> FileSecretStore:
    made = FileSecretStore(tmp_path / "secrets")
    made.get_or_create(NAME, lambda: b"old")
    return made


class PowerCut(BaseException):
    """Nothing runs after it, not even an `except Exception`."""


def cut_at(
    number: int, monkeypatch: pytest.MonkeyPatch, end: type[BaseException] | BaseException = PowerCut
) -> Iterator[int]:
    """Let the `number`th call that changes a folder raise `end`; counts them."""
    calls = iter(range(10_000))

    for owner, name in ((os, "link"), (os, "fsync"), (Path, "replace"), (Path, "unlink")):
        real = getattr(owner, name)

        def call(*arguments: object, real: object = real, **options: object) -> object:
            if next(calls) == number:
                raise end
            return real(*arguments, **options)  # type: ignore[reportCallIssue]

        monkeypatch.setattr(owner, name, call)
    return calls


@pytest.mark.parametrize("steps", [FORWARD, BACK], ids=["forward", "back"])
def test_a_crash_leaves_the_versions_before_a_step_or_those_after_it(
    tmp_path: Path, steps: tuple[Change, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after every call that changes the folder; then the same way is gone to its end."""
    states = {(b"old", None, None), (b"old", b"new", None), (b"new", None, b"old"), (b"new", None, None)}
    number, cut = 0, True
    while cut:
        store = FileSecretStore(tmp_path / str(number))
        store.get_or_create(NAME, lambda: b"old")
        with monkeypatch.context() as patched:
            cut_at(number, patched)
            done, cut = 0, False
            try:
                for change in steps:
                    take(store, change)
                    done += 1
            except PowerCut:
                cut = True
        after = FileSecretStore(tmp_path / str(number))
        assert shown(after) in states
        for change in steps[done:]:
            try:
                take(after, change)
            except Conflict:
                assert change is steps[done], "only the step that was cut off may have been taken already"
        assert shown(after) == ((b"new", None, None) if steps is FORWARD else (b"old", None, None))
        number += 1
    assert number > 8


def refusal(store: FileSecretStore, change: Change) -> str:
    try:
        take(store, change)
    except NotPermitted as error:
        return error.what
    return ""


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only file system")],
    ids=["full", "read only"],
)
@pytest.mark.parametrize("steps", [FORWARD, BACK], ids=["forward", "back"])
def test_a_write_that_is_refused_anywhere_is_told_and_the_step_can_be_repeated(
    tmp_path: Path, steps: tuple[Change, ...], error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {(b"old", None, None), (b"old", b"new", None), (b"new", None, b"old"), (b"new", None, None)}
    number, refused = 0, True
    while refused:
        store = FileSecretStore(tmp_path / str(number))
        store.get_or_create(NAME, lambda: b"old")
        with monkeypatch.context() as patched:
            cut_at(number, patched, error)
            refused = False
            for change in steps:
                before = shown(store)
                said = refusal(store, change)
                assert said in {"", f"cannot write a secret to {tmp_path / str(number)}: {error.strerror}"}
                assert shown(store) in states
                if said and shown(store) == before:  # else it was done, and only not known to be on the disk
                    take(store, change)
                refused = refused or bool(said)
        assert shown(store) == ((b"new", None, None) if steps is FORWARD else (b"old", None, None))
        number += 1
    assert number > 8


def test_an_emptied_version_is_not_taken_for_none(store: FileSecretStore, tmp_path: Path) -> None:
    take(store, Change.STAGE)
    (tmp_path / "secrets" / f"{NAME}.next").write_bytes(b"")
    with pytest.raises(InvalidInput, match="is empty"):
        store.versions(NAME)


def test_a_store_that_takes_no_write(store: FileSecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = kept(store)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", full)
    with pytest.raises(NotPermitted, match=r"cannot write a secret .*No space left"):
        store.change(NAME, seen, Change.STAGE, b"new")
    monkeypatch.undo()
    assert shown(store) == (b"old", None, None)


def test_a_draft_shows_the_versions_and_changes_none(store: FileSecretStore) -> None:
    take(store, Change.STAGE)
    draft = DraftSecretStore(store)
    assert draft.versions(NAME) == kept(store)
    draft.get_or_create("made here", lambda: b"value")
    made = draft.versions("made here")
    assert made
    assert made.values == (b"value",)
    with pytest.raises(NotPermitted):
        draft.change(NAME, kept(store), Change.PROMOTE)


def test_versions_show_no_secret(store: FileSecretStore) -> None:
    take(store, Change.STAGE)
    assert "new" not in repr(kept(store))
    assert "old" not in repr(kept(store))
