"""What Secrets stand for in OpenBao is read beside all else: while it hangs or is away, nobody else waits for it."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from fleet.contract.errors import FleetError, NotPermitted, Unreachable
from fleet.operator import entry_reader
from fleet.operator.reconcile.secrets import OPENBAO_AWAY, SecretProblem, SecretSeen
from fleet.secrets.openbao_connection import Token
from tests.operator.secret_stage import at_work, make_patient
from tests.support.waiting import eventually

UNREACHABLE = Unreachable("the API server does not answer", next_step="-")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    make_patient(monkeypatch)


def test_while_openbao_is_away_what_it_said_before_counts_and_what_is_new_says_why() -> None:
    async def story() -> None:
        async with at_work(bao_db=1, bao_fresh=1) as stage:
            stage.deploy("web", 1, "bao_db")
            stage.deploy("beside", 1, "bao_db")
            await stage.reader.settle()
            before = stage.sealed()
            stage.api.away = True
            await stage.read_all()
            assert (stage.problem(), stage.sealed()) == ("", before)
            stage.deploy("new", 1, "bao_fresh")
            await eventually(lambda: stage.problem("new") == OPENBAO_AWAY, "it says why")
            assert stage.readiness.remarks() == ["get secrets in OpenBao: it is sealed"]
            assert not stage.readiness.reason(), "devices are served without it"
            stage.deploy("web", 2, "bao_db")
            await stage.read_all()
            assert (stage.problem(), stage.problem("beside")) == ("SecretNotRead", ""), "it may have been corrected"
            stage.api.away = False
            await stage.read_all()
            assert [stage.problem(name) for name in ("web", "new", "beside")] == ["", "", ""]
            assert not stage.readiness.remarks()

    asyncio.run(story())


def test_openbao_that_is_away_concerns_nobody_when_nobody_needs_it_any_more() -> None:
    async def story() -> None:
        async with at_work(bao_db=1) as stage:
            stage.api.away = True
            stage.deploy("web", 1, "bao_db")
            await stage.reader.settle()
            assert stage.readiness.remarks()
            stage.deploy("web", 2)
            await stage.read_all()
            assert not stage.readiness.remarks()

    asyncio.run(story())


def test_a_secret_that_is_not_marked_asks_openbao_nothing() -> None:
    async def story() -> None:
        async with at_work(bao_db=0) as stage:
            stage.deploy("web", 1, "bao_db")
            await stage.reader.settle()
            assert (stage.problem(), stage.api.entries_asked) == ("SecretNotSealable", [])

    asyncio.run(story())


def test_an_openbao_that_hangs_delays_no_other_secret() -> None:
    """It hangs until the others were read."""

    async def story() -> None:
        async with at_work(bao_db=1, other=1, third=1) as stage:
            stage.api.bao_gate.clear()
            stage.deploy("web", 1, "bao_db")
            await eventually(lambda: stage.api.entries_asked == ["bao_db"], "OpenBao is asked")
            stage.deploy("beside", 1, "other")
            await eventually(lambda: stage.problem("beside") == "", "a Secret of Kubernetes is read meanwhile")
            stage.api.versions["other"] = 2
            before = stage.sealed("beside")
            await stage.reader.read_all()
            assert stage.sealed("beside") != before, "a look at everything ends, too"
            stage.deploy("both", 1, "bao_db", "third")
            await eventually(lambda: stage.api.asked[-1] == "third", "one that takes both")
            assert [stage.problem(name) for name in ("web", "both")] == ["SecretNotRead"] * 2
            stage.api.bao_gate.set()
            await stage.read_all()
            assert [stage.problem(name) for name in ("web", "both", "beside")] == ["", "", ""]

    asyncio.run(story())


def test_an_error_that_nobody_foresaw_is_the_trouble_of_its_entry() -> None:
    """Its text may hold what OpenBao answered, so it is shown nowhere."""

    async def story() -> None:
        async with at_work(bao_db=1, bao_other=1) as stage:
            stage.api.defect = RuntimeError("correct-horse")
            stage.deploy("web", 1, "bao_db")
            await eventually(lambda: stage.problem() == "SecretUnusable", "it says so")
            stage.deploy("beside", 1, "bao_other")
            await eventually(lambda: stage.problem("beside") == "", "another entry is read")
            stage.api.defect = None
            await stage.read_all()
            assert stage.problem() == ""

    with capture_logs() as logged:
        asyncio.run(story())
    assert "correct-horse" not in repr(logged)
    assert {line["event"] for line in logged} == {"an entry was not read", "the operator's token was not looked at"}


def test_no_decision_waits_for_an_openbao_that_is_known_to_be_away() -> None:
    async def story() -> None:
        async with at_work(bao_db=1, bao_fresh=1) as stage:
            stage.deploy("web", 1, "bao_db")
            await stage.reader.settle()
            stage.api.away = True
            await stage.read_all()
            stage.api.bao_gate.clear()
            stage.deploy("web", 2, "bao_db")
            stage.deploy("new", 1, "bao_fresh")
            await eventually(lambda: len(stage.api.entries_asked) > 2, "OpenBao is asked again")
            await asyncio.wait_for(stage.reader.settle(), 60)
            assert [stage.problem(name) for name in ("web", "new")] == ["SecretNotRead"] * 2

    asyncio.run(story())


def test_a_pointer_that_is_none_any_more_is_not_what_openbao_said_of_it() -> None:
    """It becomes an ordinary Secret while OpenBao is asked."""

    async def story() -> None:
        async with at_work(bao_db=1) as stage:
            stage.api.bao_gate.clear()
            stage.deploy("web", 1, "bao_db")
            await eventually(lambda: bool(stage.api.entries_asked), "OpenBao is asked")
            stage.api.versions["bao_db"] = 0
            await stage.reader.read_all()
            assert stage.problem() == "SecretNotSealable"
            stage.api.bao_gate.set()
            await stage.reader.entries_read(60)
            assert stage.problem() == "SecretNotSealable"

    asyncio.run(story())


def test_an_order_goes_before_a_look_at_all_entries() -> None:
    async def story() -> None:
        async with at_work(**{f"bao_{number}": 1 for number in range(5)}) as stage:
            for number in range(5):
                stage.deploy(f"app-{number}", 1, f"bao_{number}")
            await stage.reader.settle()
            stage.api.entries_asked.clear()
            stage.api.bao_gate.clear()
            await stage.reader.read_all()
            await eventually(lambda: stage.api.entries_asked == ["bao_0"], "all are looked at")
            stage.deploy("app-4", 2, "bao_4")
            await eventually(lambda: stage.api.asked[-1] == "bao_4", "the order is heard")
            stage.api.bao_gate.set()
            await stage.reader.entries_read(60)
            assert stage.api.entries_asked[1] == "bao_4"

    asyncio.run(story())


def test_all_entries_are_not_read_again_and_again_where_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_reader, "_SHARE", math.inf)

    async def story() -> None:
        async with at_work(bao_db=1, bao_new=1) as stage:
            stage.deploy("web", 1, "bao_db")
            await stage.reader.settle()
            await stage.read_all()
            assert stage.api.entries_asked == ["bao_db"]
            stage.deploy("new", 1, "bao_new")
            await stage.reader.settle()
            assert stage.api.entries_asked == ["bao_db", "bao_new"], "who waits for one gets it at once"

    asyncio.run(story())


@pytest.mark.parametrize("error", [UNREACHABLE, NotPermitted("no right", next_step="-")], ids=["away", "forbidden"])
def test_what_kubernetes_refuses_meanwhile_is_said_and_passes(
    error: FleetError, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(name: str, pointer: SecretSeen) -> SecretSeen | SecretProblem:
        raise error

    async def story() -> None:
        async with at_work(bao_db=1) as stage:
            with monkeypatch.context() as patch:
                patch.setattr(stage.api, "entry", refused)
                stage.deploy("web", 1, "bao_db")
                await eventually(lambda: "the Secret fleet-openbao" in stage.readiness.reason(), "it is said")
                assert stage.problem() == ("SecretNotRead" if error is UNREACHABLE else "SecretForbidden")
            await stage.read_all()
            assert (stage.problem(), stage.readiness.reason()) == ("", "")

    asyncio.run(story())


def test_the_end_of_the_operators_token_is_said_before_it_comes() -> None:
    async def story() -> None:
        async with at_work(bao_db=1) as stage:
            stage.api.about_token = Token(86_400, "2026-01-02T03:04:05.123456789Z", 32 * 86_400)
            stage.deploy("web", 1, "bao_db")
            await stage.reader.settle()
            await eventually(lambda: bool(stage.readiness.remarks()), "a remark")
            (said,) = stage.readiness.remarks()
            assert "the operator's token ends on 2026-01-02 03:04 UTC" in said
            assert not stage.readiness.reason(), "nothing is wrong yet"
            assert stage.ends == [datetime(2026, 1, 2, 3, 4, 5, 123456, UTC).timestamp()]
            stage.api.about_token = Token(20 * 86_400, "2026-02-02T03:04:05Z", 32 * 86_400)
            await stage.read_all()
            await eventually(lambda: not stage.readiness.remarks(), "another token is there")
            stage.api.about_token = None
            await stage.read_all()
            await eventually(lambda: stage.ends[-1] is None, "none is there")

    asyncio.run(story())
