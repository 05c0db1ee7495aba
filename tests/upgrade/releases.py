"""Releases and orders for tests of the upgrade."""

from __future__ import annotations

from fleet.agent.upgrade.protocol.journal import Release
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.wire import AgentTarget


def release(number: int) -> Release:
    return Release(AgentVersion(f"v0.1.{number}"), Digest("sha256:" + f"{number:064x}"))


def target(wanted: Release, generation: int, **more: object) -> AgentTarget:
    return AgentTarget(wanted.version, wanted.digest, generation, **more)  # pyright: ignore[reportArgumentType]
