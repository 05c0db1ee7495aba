"""One deployment, whatever it is, reaches neither the others nor the agent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest
import structlog.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.agent import manager
from fleet.agent.crashes import ENOUGH, Crashes
from fleet.agent.desired_state import Deployment, DesiredState
from fleet.agent.engine import Engine
from fleet.agent.manager import Manager
from fleet.agent.observe import Observer
from fleet.agent.paths import AgentPaths
from fleet.agent.problems import Problem
from fleet.agent.rollbacks import Rollbacks
from fleet.agent.sealing import Sealing
from fleet.agent.state import Saved, Store
from fleet.agent.supervise import keep_going
from fleet.agent.workloads import Workloads
from fleet.contract.errors import Unreachable
from fleet.contract.owner import Owner
from fleet.contract.wire import Container, DeviceState, Health, Phase, Port, Protocol, Reason, Restart, decode
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage

OWNER = Owner("pi-1", "server")
NOWHERE = AgentPaths(Path("/proc"))
"""Where nothing can be written."""
NUMBERS = st.integers() | st.floats()
TEXTS = st.text(st.characters(), max_size=5)  # lone surrogates, too


@st.composite
def containers(draw: st.DrawFn) -> Container:
    """Whatever the type can hold, and more than the door lets in."""
    number = lambda: draw(NUMBERS)  # noqa: E731 - two words
    health = Health((draw(TEXTS),), number(), number(), number(), number())  # pyright: ignore[reportArgumentType]
    port = Port(number(), number(), draw(st.sampled_from(Protocol)))  # pyright: ignore[reportArgumentType]
    fields: dict[str, object] = {
        "image": draw(TEXTS),
        "command": tuple(draw(st.lists(TEXTS, max_size=2))),
        "args": tuple(draw(st.lists(TEXTS, max_size=2))),
        "env": draw(st.dictionaries(TEXTS, TEXTS, max_size=2)),
        "ports": (port,) * draw(st.integers(0, 2)),
        "restart": draw(st.sampled_from(Restart)),
        "health": draw(st.none() | st.just(health)),
    }
    made = Container("a")
    for name, value in fields.items():
        msgspec.structs.force_setattr(made, name, value)
    return made


class Obliging(Engine):
    """An engine that has every image, takes every container, and shows none."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self._http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://engine")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/containers/json":
            return httpx.Response(200, json=[])
        if request.url.path == "/info":
            return httpx.Response(200, json={"LoggingDriver": "journald"})
        if request.url.path == "/containers/create":
            return httpx.Response(201, json={"Id": "made"})
        return httpx.Response(204 if request.method == "POST" else 200, json={})


class Busy(Obliging):
    """An engine that does not answer its first lists in time, as podman does while it is busy with a container."""

    def __init__(self, silent: int) -> None:
        super().__init__()
        self._silent = silent

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/containers/json" and self._silent:
            self._silent -= 1
            raise httpx.ReadTimeout("")
        return super()._answer(request)


async def managed(desired_state: DesiredState, engine: Engine | None = None) -> dict[str, DeviceState]:
    """What a manager reports once it has looked after it tried everything."""
    engine = engine or Obliging()
    told: list[dict[str, DeviceState]] = []
    workloads = Workloads(engine, OWNER, NOWHERE, Sealing(NOWHERE.sealing_key, OWNER.device))
    kept = Manager(
        Observer(engine, OWNER),
        workloads,
        lambda states, _: told.append(states),
        Rollbacks(NOWHERE.rollbacks),
        resync=60,
    )
    kept.want(desired_state)
    work = asyncio.create_task(kept.run())
    try:
        async with asyncio.timeout(30):
            while not told or kept.busy:
                assert not work.done()
                await asyncio.sleep(0)
            seen = len(told)
            kept.want(desired_state)
            while len(told) == seen:
                assert not work.done()
                await asyncio.sleep(0)
    finally:
        work.cancel()
        await engine.close()
    return told[-1]


@settings(max_examples=60)
@given(containers(), st.integers())
def test_whatever_a_workload_holds_is_its_own_problem(workload: Container, generation: int) -> None:
    with structlog.testing.capture_logs():
        states = asyncio.run(managed({"bad": Deployment(generation, workload), "good": Deployment(1, STAYS)}))
    assert states["good"].phase is Phase.PENDING  # made and started; this engine shows no container
    assert states["bad"].phase in {Phase.PENDING, Phase.FAILED}


@settings(max_examples=60)
@given(containers(), st.integers())
def test_whatever_a_workload_holds_does_not_keep_others_from_the_disk(
    tmp_path_factory: pytest.TempPathFactory, workload: Container, generation: int
) -> None:
    path = tmp_path_factory.mktemp("state") / "desired.json"
    with structlog.testing.capture_logs():
        Store(path).save(Saved({"bad": Deployment(generation, workload), "good": Deployment(1, STAYS)}))
        saved = Store(path).load()
    assert saved is not None
    assert saved.desired_state["good"] == Deployment(1, STAYS)
    assert "bad" in saved.desired_state  # else its containers would count as removed


def test_an_interval_beyond_the_engines_clock_is_that_deployments_failure() -> None:
    endless = Container(image="a", health=Health(("true",), interval=1e300))
    with structlog.testing.capture_logs():
        states = asyncio.run(managed({"bad": Deployment(1, endless), "good": Deployment(1, STAYS)}))
    assert states["bad"].phase is Phase.FAILED
    assert "good" in states


@pytest.mark.parametrize("patience", [45, 0])
def test_an_engine_that_is_busy_for_a_while_is_not_reported_as_unavailable(
    patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is silent for longer is, also while it hangs."""
    monkeypatch.setattr(manager, "_PATIENCE", patience)
    monkeypatch.setattr(manager, "_LOOK_AGAIN", 0)

    async def first() -> DeviceState:
        return (await managed({"web": Deployment(1, STAYS)}, Busy(2)))["web"]

    with structlog.testing.capture_logs():
        state = asyncio.run(first())
    unavailable = (Phase.FAILED, Reason.ENGINE_UNAVAILABLE)
    assert ((state.phase, state.reason) == unavailable) is (patience == 0), state


VALUES = {
    "interval": b'{"type":"container","image":"%s","health":{"command":["true"],"interval":1e300}}',
    "surrogate": b'{"type":"container","image":"%s\\ud800"}',
    "nul": b'{"type":"container","image":"%s","env":{"A":"\\u0000"}}',
    "moved": b'{"type":"container","image":"https://registry.example.org/team/app:1"}',
}


def test_poison_reaches_neither_the_others_nor_the_connection_nor_the_next_start(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            for name, workload in VALUES.items():
                await stage.write(
                    name,
                    b'{"type":"desired","generation":1,"workload":' + workload.replace(b"%s", IMAGE.encode()) + b"}",
                )
            await stage.write("generation", b'{"type":"desired","generation":%d,"workload":{}}' % 10**40)
            await stage.deploy("good", STAYS)
            await stage.until("good", Phase.RUNNING, Reason.STARTED)
            for name in (*VALUES, "generation"):
                await failed(stage, name)
        async with stage.agent():
            await stage.deploy("later", STAYS)
            await stage.until("later", Phase.RUNNING, Reason.STARTED)
            await stage.withdraw("interval")
            await stage.eventually(lambda: stage.state("interval"), lambda it: it is None, "its report is gone")

    stage.play(body)


async def failed(stage: Stage, name: str) -> None:
    def good(state: DeviceState | None) -> bool:
        return state is not None and state.phase is Phase.FAILED

    await stage.eventually(lambda: stage.state(name), good, f"{name} failed")


def test_an_entry_on_disk_that_does_not_parse_is_skipped_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "desired.json")
    store.save(Saved({"bad": Deployment(2, STAYS), "good": Deployment(1, STAYS)}, leaving=("old",)))
    store.path.write_bytes(store.path.read_bytes().replace(b'"generation":2', b'"generation":"x"'))
    with structlog.testing.capture_logs() as logs:
        saved = Store(store.path).load()
    assert saved is not None
    assert saved.desired_state["good"] == Deployment(1, STAYS)
    assert saved.leaving == ("old",)
    bad = saved.desired_state["bad"]
    assert (bad.workload, bad.problem and bad.problem.reason) == (None, Reason.INVALID_DESIRED_STATE)
    assert [line["deployment"] for line in logs] == ["bad"]


def test_a_problem_can_be_reported_whatever_it_quotes() -> None:
    problem = Problem(Reason.INTERNAL_ERROR, "a\ud800b" * 400)
    assert len(problem.message) == 500
    msgspec.json.encode(problem)


def test_a_reason_that_a_newer_agent_reports_is_read_with_its_phase() -> None:
    state = decode(b'{"type":"state","generation":1,"phase":"Failed","reason":"FromTheFuture"}', DeviceState)
    assert (state.phase, state.reason) == (Phase.FAILED, Reason.OTHER)


def test_a_part_that_fails_begins_anew_and_says_so() -> None:
    tries: list[int] = []

    async def part() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise RuntimeError("unforeseen")

    with structlog.testing.capture_logs() as logs:
        asyncio.run(keep_going("part", part))
    assert len(tries) == 2
    assert [line["part"] for line in logs] == ["part"]


def test_a_part_may_end_the_process_by_its_own_word() -> None:
    async def part() -> None:
        raise Unreachable("ends", next_step="none")

    with pytest.raises(Unreachable):
        asyncio.run(keep_going("part", part, ends=Unreachable))


def test_crashes_are_counted_within_one_boot_until_a_good_start(tmp_path: Path) -> None:
    path = tmp_path / "crashes.json"
    assert [Crashes(path, "boot").begin() for _ in range(3)] == [0, 1, 2]
    assert Crashes(path, "another").begin() == 0
    Crashes(path, "another").over()
    assert Crashes(path, "another").begin() == 0
    path.write_bytes(b"nonsense")
    assert Crashes(path, "another").begin() == 0


def test_an_agent_that_crashed_with_what_is_on_disk_waits_for_nats(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
        before = (await stage.containers())["web"]
        await asyncio.to_thread(stage.raw.call, "DELETE", f"/containers/{before.id}", params={"force": "1"})
        info = await stage.info()
        assert info is not None
        place = AgentPaths(stage.root)
        for _ in range(ENOUGH):
            Crashes(place.crashes, info.boot_id).begin()
        stage.issuer_error = Unreachable("no network", next_step="wait")
        async with stage.agent():
            await stage.logged("agents crashed with what is on disk; nothing changes until NATS tells what to run")
            await stage.logged("no token from the issuer")
            assert not await stage.containers()
            stage.issuer_error = None
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
        assert Crashes(place.crashes, info.boot_id).begin() == 0

    stage.play(body)
