"""The last desired state on disk: a device that boots without a network restores its workloads from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from fleet.agent.desired_state import Deployment, DesiredState
from fleet.agent.problems import Problem
from fleet.agent.schema import form_of
from fleet.contract.grammar import validation_words
from fleet.contract.owner import Owner
from fleet.contract.parsing import NOT_JSON
from fleet.contract.upgrade import STATE_SCHEMA
from fleet.contract.wire import Reason
from fleet.process.durable import replace_file
from fleet.process.failures import in_words
from fleet.process.plain_file import read_file
from fleet.process.umask import make_folders

_log = structlog.stdlib.get_logger()


class Saved(msgspec.Struct, frozen=True):
    """The file's content. `leaving` are removed deployments whose report has not been deleted in NATS yet."""

    desired_state: DesiredState = msgspec.field(name="wishes")
    leaving: tuple[str, ...] = ()
    schema: int = STATE_SCHEMA
    owner: Owner | None = None
    """Who ordered it; none if an agent from before owners existed wrote it."""


class _Entries(msgspec.Struct, frozen=True):
    """As `Saved`, with each deployment unparsed: one that does not parse must not invalidate the others."""

    desired_state: dict[str, msgspec.Raw] = msgspec.field(name="wishes")
    leaving: tuple[str, ...] = ()
    schema: int = STATE_SCHEMA
    owner: Owner | None = None


class Store:
    """One file, mode 0600 since a workload's environment may hold secrets; replaced as a whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = b""

    def load(self) -> Saved | None:
        """What was saved last; None when nothing was, or when it cannot be read, as what a newer agent wrote."""
        try:
            data = read_file(self.path)
            if (form := form_of(data)) > STATE_SCHEMA:
                _log.error("a newer agent wrote the desired state on disk", form=form, understood=STATE_SCHEMA)
                return None
            entries = msgspec.json.decode(data, type=_Entries)
        except (OSError, *NOT_JSON) as error:
            if self.path.exists():
                _log.error("the desired state on disk cannot be read", path=str(self.path), why=validation_words(error))
            return None
        self._written = data
        desired_state = {name: _parsed(name, desired) for name, desired in entries.desired_state.items()}
        return Saved(desired_state, entries.leaving, entries.schema, entries.owner)

    def save(self, saved: Saved) -> None:
        """Replace the file unless it holds this already; after it returns, a power cut does not lose it.

        A deployment that JSON cannot carry is saved as a problem, so that the others are saved.

        Raises:
            OSError: it could not be written; the old content stands.
        """
        data = msgspec.json.encode(_Entries(_encoded(saved.desired_state), saved.leaving, saved.schema, saved.owner))
        if data == self._written:
            return
        self._written = b""
        make_folders(self.path.parent, 0o700)
        replace_file(self.path, data, 0o600)
        self._written = data


def _parsed(name: str, data: msgspec.Raw) -> Deployment:
    """A saved deployment; one that does not parse stays as it is, until its desired state arrives from NATS."""
    try:
        return msgspec.json.decode(data, type=Deployment)
    except NOT_JSON as error:
        why = validation_words(error)
        _log.error("a deployment on disk does not parse; it is left as it is", deployment=name, why=why)
        return Deployment(0, None, Problem(Reason.INVALID_DESIRED_STATE, f"what is on disk does not parse: {why}"))


def _encoded(desired_state: Mapping[str, Deployment]) -> dict[str, msgspec.Raw]:
    entries: dict[str, msgspec.Raw] = {}
    for name, desired in desired_state.items():
        try:
            entries[name] = msgspec.Raw(msgspec.json.encode(desired))
        except (ValueError, OverflowError, TypeError) as error:
            problem = Problem(Reason.INVALID_DESIRED_STATE, f"cannot be kept on disk: {in_words(error)}")
            _log.error("a deployment is not saved", deployment=name, why=problem.message)
            entries[name] = msgspec.Raw(msgspec.json.encode(Deployment(0, None, problem)))
    return entries
