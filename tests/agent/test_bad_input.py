"""Desired state that nobody should write: it is reported, and nothing that runs is lost."""

from __future__ import annotations

import msgspec
import pytest

from fleet.contract.buckets import DESIRED_STATE
from fleet.contract.wire import Phase, Reason, encode
from tests.agent.stage import STAYS, Stage

WORKLOAD = msgspec.json.encode(STAYS)


INVALID, UNSUPPORTED = Reason.INVALID_DESIRED_STATE, Reason.UNSUPPORTED_WORKLOAD
BAD_ENTRIES = {
    "no-json": (b"{ not json", INVALID, "it is not JSON"),
    "empty": (b"", INVALID, "it ends too early"),
    "no-utf8": (b"\xff\xfe", INVALID, "Desired"),
    "text": (b'"text"', INVALID, "Expected an object"),
    "wrong-type": (b'{"type":"desired","generation":"x","workload":' + WORKLOAD + b"}", INVALID, "generation"),
    "unknown-tag": (b'{"type":"wish","generation":2,"workload":' + WORKLOAD + b"}", INVALID, "wish"),
    "wrong-image": (b'{"type":"desired","generation":2,"workload":{"type":"container","image":1}}', INVALID, "image"),
    "unknown-kind": (b'{"type":"desired","generation":2,"workload":{"type":"vm"}}', UNSUPPORTED, "vm"),
    "megabyte": (b"[" * 1_000_000, INVALID, "Desired"),
}
"""By deployment: what is written, what is reported, and a word of the message."""


def test_bad_entries_are_reported_and_what_runs_goes_on(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            for name in [*BAD_ENTRIES, "good"]:
                await stage.deploy(name, STAYS)
            for name in [*BAD_ENTRIES, "good"]:
                await stage.until(name, Phase.RUNNING, Reason.STARTED)
            before = await stage.containers()
            for name, (value, _, _) in BAD_ENTRIES.items():
                await stage.write(name, value, generation=2)
            for name, (_, reason, told) in BAD_ENTRIES.items():
                state = await stage.until(name, Phase.FAILED, reason, generation=2)
                assert told in state.message
                assert len(state.message) <= 500
                assert state.container_id == before[name].id
            assert await stage.containers() == before
            await stage.until("good", Phase.RUNNING, Reason.STARTED)
            await stage.deploy("text", STAYS, generation=3)
            await stage.until("text", Phase.RUNNING, Reason.STARTED, generation=3)
            assert await stage.containers() == before

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


def test_names_that_cannot_be_are_skipped(stage: Stage) -> None:
    names = ["UPPER", "a.b", "*", ">", "", "-dash", "x" * 64, "über", "a b"]

    async def body() -> None:
        async with stage.agent():
            await stage.index(**dict.fromkeys(names, 1))
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            assert list(await stage.containers()) == ["web"]
        told = [line["why"] for line in stage.logs if line["event"] == "index names what cannot be"]
        assert len({why.partition(" is not")[0] for why in told}) == len(names)

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
