"""Who orders a deployment after a Secret was corrected gets the corrected one, and never what was read before."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator

import msgspec
import pytest

from fleet.contract.errors import FleetError, NotFound, NotPermitted, Unreachable
from fleet.contract.objects import DeploymentSpec, FleetDeployment, Metadata
from fleet.contract.sealed import FromSecret
from fleet.contract.wire import Container
from fleet.operator import secret_reader
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.placement import order_of
from fleet.operator.reconcile.secrets import OPENBAO_AWAY, SecretProblem, SecretSeen
from fleet.operator.secret_reader import SecretReader
from fleet.operator.store import Store
from tests.support.waiting import eventually


class Api:
    """Secrets by name, their resource version as it is now; an answer waits while `gate` is closed."""

    def __init__(self, **versions: int) -> None:
        self.versions = versions
        self.asked: list[str] = []
        self.error: FleetError | None = None
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def secret(self, name: str) -> SecretSeen | SecretProblem:
        self.asked.append(name)
        await self.gate.wait()
        if self.away:
            return SecretProblem(OPENBAO_AWAY, "it is sealed")
        if self.error is not None:
            raise self.error
        if name not in self.versions:
            raise NotFound("gone", next_step="-")
        return SecretSeen("u", str(self.versions[name]), "Opaque", True, {"k": b"v"})


class Stage:
    def __init__(self, **versions: int) -> None:
        self.api, self.store, self.woken = Api(**versions), Store(3.0), 0
        self.readiness = Readiness()
        self.reader = SecretReader(self.api, self.store.secrets, self.readiness, self.wake)

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


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for the next look at everything, and none of its waits is cut off."""
    monkeypatch.setattr(secret_reader, "EVERY", 3600.0)
    monkeypatch.setattr(secret_reader, "_PATIENCE", 3600.0)


def test_a_secret_that_was_corrected_before_the_order_is_what_is_sealed() -> None:
    async def story() -> None:
        async with at_work(db=1, other=1) as stage:
            stage.deploy("web", 1, "db")
            stage.deploy("beside", 1, "db")
            await stage.reader.settle()
            before = stage.sealed()
            assert before
            stage.api.versions["db"] = 2
            stage.deploy("web", 2, "db")
            assert stage.problem() == "SecretNotRead", "what was read before is not used"
            assert stage.problem("beside") == "", "who did not change keeps what is known"
            await stage.reader.settle()
            assert stage.problem() == ""
            assert stage.sealed() not in {"", before}
            assert stage.sealed("beside") == stage.sealed()

    asyncio.run(story())


def test_a_change_that_is_only_a_status_reads_nothing() -> None:
    async def story() -> None:
        async with at_work(db=1) as stage:
            stage.deploy("web", 1, "db")
            await stage.reader.settle()
            asked = len(stage.api.asked)
            item = stage.store.deployments.items["web"]
            meta = msgspec.structs.replace(item.metadata, resource_version="11", finalizers=("f",))
            stage.store.deployments.put(msgspec.structs.replace(item, metadata=meta))
            stage.reader.look("web")
            await stage.reader.settle()
            assert len(stage.api.asked) == asked

    asyncio.run(story())


def test_a_doubt_that_begins_during_a_read_is_not_ended_by_it() -> None:
    async def story() -> None:
        async with at_work(db=1) as stage:
            stage.api.gate.clear()
            stage.deploy("web", 1, "db")
            await eventually(lambda: bool(stage.api.asked), "the Secret is asked for")
            stage.deploy("web", 2, "db")
            stage.api.gate.set()
            await stage.reader.settle()
            assert stage.problem() == ""
            assert len(stage.api.asked) == 2, "it was read once more, after the second order"

    asyncio.run(story())


def test_a_read_of_everything_gives_way_to_a_change() -> None:
    async def story() -> None:
        async with at_work(**{f"s{number}": 1 for number in range(9)}) as stage:
            for number in range(9):
                stage.deploy(f"app-{number}", 1, f"s{number}")
            await stage.reader.settle()
            stage.api.asked.clear()
            stage.api.gate.clear()
            reading = asyncio.create_task(stage.reader.read_all())
            await eventually(lambda: stage.api.asked == ["s0"], "everything is being read")
            stage.deploy("app-8", 2, "s8")
            stage.api.gate.set()
            await reading
            assert stage.api.asked.index("s8") == 1

    asyncio.run(story())


def test_all_secrets_are_looked_at_when_due_however_often_a_deployment_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_reader, "EVERY", 0.1)

    async def story() -> None:
        async with at_work(db=1, other=1) as stage:
            stage.deploy("web", 1, "db")
            await stage.reader.settle()
            before = stage.sealed()
            stage.api.versions["db"] = 2
            generations = itertools.count(1)

            def news() -> bool:
                stage.deploy("busy", next(generations), "other")
                return stage.sealed() != before

            await eventually(news, "the Secret that nobody ordered anew is read", interval=0.02)

    asyncio.run(story())


UNREACHABLE = Unreachable("the API server does not answer", next_step="-")


def test_a_secret_that_cannot_be_read_keeps_back_what_was_changed_and_nothing_else() -> None:
    async def story() -> None:
        async with at_work(db=1, extra=1) as stage:
            stage.deploy("web", 1, "db", "extra")
            stage.deploy("beside", 1, "db")
            await stage.reader.settle()
            stage.api.error = UNREACHABLE
            stage.deploy("web", 2, "db", "extra")
            await eventually(lambda: "does not answer" in stage.readiness.reason(), "the operator says so")
            assert (stage.problem(), stage.problem("beside")) == ("SecretNotRead", "")
            stage.api.error = None
            await stage.reader.read_all()
            assert stage.problem() == ""
            assert stage.readiness.reason() == ""

    asyncio.run(story())


def test_a_decision_waits_once_for_a_change_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_reader, "_PATIENCE", 0.01)

    async def story() -> None:
        async with at_work(db=1) as stage:
            stage.api.gate.clear()
            stage.deploy("web", 1, "db")
            await stage.reader.settle()
            assert stage.problem() == "SecretNotRead"
            monkeypatch.setattr(secret_reader, "_PATIENCE", 3600.0)
            # It was waited for already.
            await asyncio.wait_for(stage.reader.settle(), 60)
            woken = stage.woken
            stage.api.gate.set()
            await eventually(lambda: stage.problem() == "", "it was read")
            assert stage.woken > woken, "and a decision is called for"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("error", "reason"),
    [(NotPermitted("no right", next_step="-"), "SecretForbidden"), (NotFound("gone", next_step="-"), "SecretMissing")],
    ids=["forbidden", "missing"],
)
def test_an_answer_that_is_no_secret_ends_the_doubt_too(error: FleetError, reason: str) -> None:
    async def story() -> None:
        async with at_work(db=1) as stage:
            stage.api.error = error
            stage.deploy("web", 1, "db")
            await stage.reader.settle()
            assert stage.problem() == reason

    asyncio.run(story())


def test_a_change_of_one_deployment_looks_at_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be thousands, and each of them may change."""

    def every() -> set[str]:
        raise AssertionError("every deployment is looked at")

    async def story() -> None:
        stage = Stage(db=1)
        monkeypatch.setattr(stage.store.secrets, "wanted", every)
        stage.deploy("web", 1, "db")
        assert stage.store.secrets.lacks("web")
        assert not stage.store.secrets.lacks("gone")

    asyncio.run(story())


def test_a_deployment_that_is_gone_or_takes_none_any_more_is_in_no_doubt() -> None:
    async def story() -> None:
        stage = Stage(db=1)
        stage.deploy("web", 1, "db")
        stage.deploy("app", 1, "db")
        stage.store.deployments.remove("web", 99)
        stage.deploy("app", 2)
        assert not stage.store.secrets.doubts
        assert not stage.store.secrets.missing()
        await stage.reader.settle()

    asyncio.run(story())


def test_while_openbao_is_away_what_it_said_before_counts_and_what_is_new_says_why() -> None:
    async def story() -> None:
        async with at_work(db=1, fresh=1) as stage:
            stage.deploy("web", 1, "db")
            stage.deploy("beside", 1, "db")
            await stage.reader.settle()
            before = stage.sealed()
            stage.api.away = True
            await stage.reader.read_all()
            assert (stage.problem(), stage.sealed()) == ("", before)
            stage.deploy("new", 1, "fresh")
            await stage.reader.settle()
            assert stage.problem("new") == OPENBAO_AWAY
            assert stage.readiness.remarks() == ["get secrets in OpenBao: it is sealed"]
            assert not stage.readiness.reason(), "devices are served without it"
            stage.deploy("web", 2, "db")
            await stage.reader.read_all()
            assert (stage.problem(), stage.problem("beside")) == ("SecretNotRead", ""), "it may have been corrected"
            stage.api.away = False
            await stage.reader.read_all()
            assert [stage.problem(name) for name in ("web", "new", "beside")] == ["", "", ""]
            assert not stage.readiness.remarks()

    asyncio.run(story())


def test_openbao_that_is_away_concerns_nobody_when_nobody_needs_it_any_more() -> None:
    async def story() -> None:
        async with at_work(db=1) as stage:
            stage.api.away = True
            stage.deploy("web", 1, "db")
            await stage.reader.settle()
            assert stage.readiness.remarks()
            stage.deploy("web", 2)
            await stage.reader.read_all()
            assert not stage.readiness.remarks()

    asyncio.run(story())
