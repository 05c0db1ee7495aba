"""Runs `fleet.agent.upgrade.device.stage` as a process, and brings its verdict back."""

from __future__ import annotations

import os

import msgspec

from fleet.agent.child import call
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.protocol.journal import Release
from fleet.artifacts.refusal import Refusal
from fleet.contract.errors import FleetError
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.contract.upgrade import UpgradeReason

_WORKER = "fleet.agent.upgrade.device.stage"
_WITHIN = 300.0
"""Seconds: an agent is unpacked and compiled in one second on a computer, and in thirty on a small board."""


class Request(msgspec.Struct, frozen=True):
    """Which version, of which device."""

    root: str
    version: str
    digest: str


class Verdict(msgspec.Struct, frozen=True):
    """How it went; `error` is the number of an `OSError`, and an empty `what` is good."""

    what: str = ""
    next_step: str = ""
    reason: str = ""
    error: int = 0


async def work(what: str, store: VersionStore, release: Release) -> None:
    """Do `check` or `stage`; a cancellation ends the process.

    Raises:
        Refusal: see there.
        OSError: the disk failed.
        FleetError: the process died, or did not end.
    """
    request = msgspec.json.encode(Request(str(store.root), release.version, release.digest), enc_hook=str)
    try:
        _, answer = await call(_WORKER, what, stdin=request, within=_WITHIN)
        verdict = msgspec.json.decode(answer, type=Verdict)
    except (TimeoutError, *NOT_JSON) as error:
        raise FleetError(
            f"the process that lays down {release.version} failed: {validation_words(error) or 'no answer in time'}",
            next_step="see its traceback in the agent's log",
        ) from error
    if verdict.error:
        raise OSError(verdict.error, os.strerror(verdict.error), str(store.folder))
    if verdict.reason == UpgradeReason.OTHER.value:
        raise FleetError(verdict.what, next_step=verdict.next_step)
    if verdict.what:
        raise Refusal(UpgradeReason(verdict.reason), verdict.what, next_step=verdict.next_step)
