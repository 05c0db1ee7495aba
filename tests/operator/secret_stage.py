"""A reader of Secrets at work, and what it reads: played, with answers that wait as a test needs it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from fleet.contract.errors import FleetError, NotFound
from fleet.contract.objects import DeploymentSpec, FleetDeployment, Metadata
from fleet.contract.sealed import OPENBAO_TYPE, FromSecret
from fleet.contract.wire import Container
from fleet.operator import entry_reader, secret_reader
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.placement import order_of
from fleet.operator.reconcile.secrets import OPENBAO_AWAY, SecretProblem, SecretSeen
from fleet.operator.secret_reader import SecretReader
from fleet.operator.store import Store
from fleet.secrets.openbao_connection import Token


class Api:
    """Secrets by name, their resource version as it is now; an answer waits while `gate` is closed.

    Those whose name begins with `bao_` stand for an entry in OpenBao; what that answers waits for `bao_gate`.
    """

    def __init__(self, **versions: int) -> None:
        self.versions = versions
        self.asked: list[str] = []
        self.entries_asked: list[str] = []
        self.error: FleetError | None = None
        self.away = False
        self.about_token: Token | None = None
        self.defect: Exception | None = None
        self.gate, self.bao_gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.bao_gate.set()

    async def secret(self, name: str) -> SecretSeen:
        self.asked.append(name)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if name not in self.versions:
            raise NotFound("gone", next_step="-")
        if name.startswith("bao_"):
            return SecretSeen("u", "1", OPENBAO_TYPE, self.versions[name] > 0, {"path": b"web/db"})
        return SecretSeen("u", str(self.versions[name]), "Opaque", True, {"k": b"v"})

    async def entry(self, name: str, pointer: SecretSeen) -> SecretSeen | SecretProblem:
        assert pointer.data == {"path": b"web/db"}
        self.entries_asked.append(name)
        await self.bao_gate.wait()
        if self.defect is not None and name == "bao_db":
            raise self.defect
        if self.away:
            return SecretProblem(OPENBAO_AWAY, "it is sealed")
        return SecretSeen("e", str(self.versions[name]), "Opaque", True, {"k": b"v"})

    async def token(self) -> Token | None:
        if self.defect is not None:
            raise self.defect
        return self.about_token


class Stage:
    def __init__(self, **versions: int) -> None:
        self.api, self.store, self.woken = Api(**versions), Store(3.0), 0
        self.readiness, self.ends = Readiness(), list[float | None]()
        self.reader = SecretReader(self.api, self.store.secrets, self.readiness, self.wake, self.ends.append)

    async def read_all(self) -> None:
        """Read every Secret, and what it stands for."""
        await self.reader.read_all()
        await self.reader.entries_read(60)

    def wake(self) -> None:
        self.woken += 1

    def deploy(self, name: str, generation: int, *secrets: str) -> None:
        env = {one.upper(): FromSecret(one, "k") for one in secrets}
        meta = Metadata(name, uid="d", generation=generation, resource_version=str(generation * 10))
        self.store.deployments.put(FleetDeployment(meta, DeploymentSpec(Container("a", secret_env=env))))
        self.reader.look(name)

    def problem(self, name: str = "web") -> str:
        found = order_of(self.store.snapshot(), self.store.deployments.items[name]).problem
        return found.reason if found else ""

    def sealed(self, name: str = "web") -> str:
        sealed = order_of(self.store.snapshot(), self.store.deployments.items[name]).new.sealed
        return sealed.version if sealed else ""


@contextlib.asynccontextmanager
async def at_work(**versions: int) -> AsyncGenerator[Stage]:
    stage = Stage(**versions)
    task = asyncio.create_task(stage.reader.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def make_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for the next look at everything, and none of its waits is cut off."""
    monkeypatch.setattr(secret_reader, "EVERY", 3600.0)
    monkeypatch.setattr(secret_reader, "_PATIENCE", 3600.0)
    monkeypatch.setattr(entry_reader, "_SHARE", 0)
