"""The last desired state on disk: a device that boots without a network restores its workloads from it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
import structlog

from fleet.agent.schema import form_of
from fleet.agent.wishes import Wishes
from fleet.contract.upgrade import STATE_SCHEMA

_log = structlog.stdlib.get_logger()


class Saved(msgspec.Struct, frozen=True):
    """The file's content. `leaving` are removed deployments whose report has not been deleted in NATS yet."""

    wishes: Wishes
    leaving: tuple[str, ...] = ()
    schema: int = STATE_SCHEMA


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
            saved = msgspec.json.decode(data, type=Saved)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        self._written = data
        return saved

    def save(self, saved: Saved) -> None:
        """Replace the file unless it holds this already; after it returns, a power cut does not lose it.

        Raises:
            OSError: it could not be written; the old content stands.
        """
        data = msgspec.json.encode(saved)
        if data == self._written:
            return
        self._written = b""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
