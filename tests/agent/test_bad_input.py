"""Desired state that nobody should write: it is reported, and nothing that runs is lost."""

from __future__ import annotations

import msgspec
import pytest

from fleet.contract.buckets import DESIRED_STATE
from fleet.contract.wire import Phase, Reason, encode
from tests.agent.stage import STAYS, Stage

WORKLOAD = msgspec.json.encode(STAYS)


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (b"{ not json", Reason.INVALID_DESIRED_STATE, "malformed"),
        (b"", Reason.INVALID_DESIRED_STATE, "truncated"),
        (b"\xff\xfe", Reason.INVALID_DESIRED_STATE, "Desired"),
        (b'"text"', Reason.INVALID_DESIRED_STATE, "Expected `object`"),
        (
            b'{"type":"desired","generation":"x","workload":' + WORKLOAD + b"}",
            Reason.INVALID_DESIRED_STATE,
            "generation",
        ),
        (b'{"type":"wish","generation":2,"workload":' + WORKLOAD + b"}", Reason.INVALID_DESIRED_STATE, "wish"),
        (
            b'{"type":"desired","generation":2,"workload":{"type":"container","image":1}}',
            Reason.INVALID_DESIRED_STATE,
            "image",
        ),
        (b'{"type":"desired","generation":2,"workload":{"type":"vm"}}', Reason.UNSUPPORTED_WORKLOAD, "vm"),
        (b"[" * 1_000_000, Reason.INVALID_DESIRED_STATE, "Desired"),
    ],
    ids=["no-json", "empty", "no-utf8", "text", "wrong-type", "unknown-tag", "wrong-image", "unknown-kind", "1MB"],
)
def test_a_bad_entry_is_reported_and_what_runs_goes_on(stage: Stage, value: bytes, reason: Reason, told: str) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.deploy("other", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await stage.write("web", value, generation=2)
            state = await stage.until("web", Phase.FAILED, reason, generation=2)
            assert told in state.message
            assert len(state.message) <= 500
            assert (await stage.containers())["web"] == before
            await stage.until("other", Phase.RUNNING, Reason.STARTED)
            await stage.deploy("web", STAYS, generation=3)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=3)
            assert (await stage.containers())["web"] == before

    stage.play(body)


def test_a_bad_entry_survives_an_agent_restart_as_what_ran_before(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await stage.write("web", b"nonsense", generation=2)
            await stage.until("web", Phase.FAILED, Reason.INVALID_DESIRED_STATE, generation=2)
        async with stage.agent():
            await stage.deploy("other", STAYS)
            await stage.until("other", Phase.RUNNING, Reason.STARTED)
            await stage.until("web", Phase.FAILED, Reason.INVALID_DESIRED_STATE, generation=2)
            assert (await stage.containers())["web"] == before

    stage.play(body)


@pytest.mark.parametrize("value", [b"nonsense", b'{"type":"index","deployments":["web"]}', b""])
def test_a_bad_index_changes_nothing(stage: Stage, value: bytes) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await stage.bus.client.jetstream().publish(DESIRED_STATE.subject(stage.device), value)
            await stage.logged("desired state not read; nothing changes")
            assert (await stage.containers())["web"] == before
            await stage.deploy("second", STAYS)
            await stage.until("second", Phase.RUNNING, Reason.STARTED)

    stage.play(body)


def test_a_missing_index_changes_nothing(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await stage.bus.kv(DESIRED_STATE).delete(stage.device)
            await stage.logged("desired state not read; nothing changes")
            assert (await stage.containers())["web"] == before

    stage.play(body)


def test_an_entry_that_the_index_names_but_is_not_there_is_reported(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.index(ghost=1)
            state = await stage.until("ghost", Phase.FAILED, Reason.INVALID_DESIRED_STATE)
            assert "no such entry" in state.message
            await stage.until("web", Phase.RUNNING, Reason.STARTED)

    stage.play(body)


@pytest.mark.parametrize("name", ["UPPER", "a.b", "*", ">", "", "-dash", "x" * 64, "über"])
def test_a_name_that_cannot_be_is_skipped(stage: Stage, name: str) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.index(**{name: 1})
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            assert list(await stage.containers()) == ["web"]
        assert any(line["event"] == "index names what cannot be" for line in stage.logs)

    stage.play(body)


def test_a_valid_value_of_nearly_a_megabyte_is_no_problem_for_others(stage: Stage) -> None:
    huge = msgspec.structs.replace(STAYS, env={"LONG": "x" * 900_000})

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("huge", huge)
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            state = await stage.eventually(
                lambda: stage.state("huge"), lambda state: bool(state and state.phase is Phase.FAILED), "huge fails"
            )
            assert len(encode(state)) < 2000

    stage.play(body)
