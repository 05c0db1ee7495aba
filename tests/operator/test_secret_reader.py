"""Who orders a deployment after a Secret was corrected gets the corrected one, and never what was read before."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import pytest

from fleet.contract.errors import FleetError, NotFound, NotPermitted, Unreachable
from fleet.operator import secret_reader
from tests.operator.secret_stage import Stage, at_work, make_patient
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    make_patient(monkeypatch)


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
