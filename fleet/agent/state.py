"""The last desired state on disk: a device that boots without a network restores its workloads from it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from fleet.agent.schema import form_of
from fleet.agent.wishes import Problem, Wish, Wishes
from fleet.contract.owner import Owner
from fleet.contract.upgrade import STATE_SCHEMA
from fleet.contract.wire import Reason
from fleet.umask import make_folders

_log = structlog.stdlib.get_logger()


class Saved(msgspec.Struct, frozen=True):
    """The file's content. `leaving` are removed deployments whose report has not been deleted in NATS yet."""

    wishes: Wishes
    leaving: tuple[str, ...] = ()
    schema: int = STATE_SCHEMA
    owner: Owner | None = None
    """Who ordered it; none where an agent from before there were owners wrote it."""


class _Entries(msgspec.Struct, frozen=True):
    """As `Saved`, with each wish as it was written: one that does not parse is not to take the others with it."""

    wishes: dict[str, msgspec.Raw]
    leaving: tuple[str, ...] = ()
    schema: int = STATE_SCHEMA
    owner: Owner | None = None


class Store:
    """One file, mode 0600 since a workload's environment may hold secrets; replaced as a whole or not at all."""

    def __init__(self, path: Path) -> None:
        """Touch nothing yet."""
        self.path = path
        self._written = b""

    def load(self) -> Saved | None:
        """What was saved last; None when nothing was, or when it cannot be read, as what a newer agent wrote."""
        try:
            data = self.path.read_bytes()
            if (form := form_of(data)) > STATE_SCHEMA:
                _log.error("a newer agent wrote the desired state on disk", form=form, understood=STATE_SCHEMA)
                return None
            entries = msgspec.json.decode(data, type=_Entries)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if self.path.exists():
                _log.error("the desired state on disk cannot be read", path=str(self.path), why=str(error))
            return None
        self._written = data
        wishes = {name: _parsed(name, wish) for name, wish in entries.wishes.items()}
        return Saved(wishes, entries.leaving, entries.schema, entries.owner)

    def save(self, saved: Saved) -> None:
        """Replace the file unless it holds this already; after it returns, a power cut does not lose it.

        A wish that JSON cannot carry is kept as a problem, so that the others are saved.

        Raises:
            OSError: it could not be written; the old content stands.
        """
        data = msgspec.json.encode(_Entries(_encoded(saved.wishes), saved.leaving, saved.schema, saved.owner))
        if data == self._written:
            return
        self._written = b""
        make_folders(self.path.parent, 0o700)
        draft = self.path.with_suffix(".new")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            _sync_folder(self.path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        self._written = data


def _parsed(name: str, data: msgspec.Raw) -> Wish:
    """A wish as it was saved; one that does not parse leaves the deployment as it is, until NATS tells what it is."""
    try:
        return msgspec.json.decode(data, type=Wish)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        _log.error("a deployment on disk does not parse; it is left as it is", deployment=name, why=str(error))
        return Wish(0, None, Problem(Reason.INVALID_DESIRED_STATE, f"what is on disk does not parse: {error}"))


def _encoded(wishes: Mapping[str, Wish]) -> dict[str, msgspec.Raw]:
    found: dict[str, msgspec.Raw] = {}
    for name, wish in wishes.items():
        try:
            found[name] = msgspec.Raw(msgspec.json.encode(wish))
        except (ValueError, OverflowError, TypeError) as error:
            problem = Problem(Reason.INVALID_DESIRED_STATE, f"cannot be kept on disk: {type(error).__name__}: {error}")
            _log.error("a deployment is not saved", deployment=name, why=problem.message)
            found[name] = msgspec.Raw(msgspec.json.encode(Wish(0, None, problem)))
    return found


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
