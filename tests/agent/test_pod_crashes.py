"""An agent that is ended after any call by which it changes a pod: the next one comes to the same end.

Nothing that runs is destroyed before its replacement can be, whatever the agent was doing.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from pathlib import Path

import msgspec
import pytest

from fleet.agent.desired_state import Deployment
from fleet.agent.engine import Engine
from fleet.agent.observe import Observer
from fleet.agent.paths import AgentPaths
from fleet.agent.pods import next_actions, view
from fleet.agent.problems import Problem
from fleet.agent.reconcile import PREVIOUS, Observed, Status
from fleet.agent.sealing import Sealing
from fleet.agent.workloads import Workloads
from fleet.contract.confinement import Update
from fleet.contract.containers import CONTAINER_LABEL, SPEC_LABEL, network_name
from fleet.contract.mounts import Mount, MountType
from fleet.contract.owner import Owner
from fleet.contract.pod import Dependency, InitContainer, Pod, PodContainer, as_sent
from fleet.contract.wire import Container, Health, Reason, Workload
from harness.images import IMAGE
from tests.agent.engine_model import BROKEN, UNWELL, WELL, Crash, EngineModel, Made

OWNER = Owner("pi-mortal-pod", "server")
NOWHERE = AgentPaths(Path("/proc"))
"""Where nothing can be written."""
DATA = (Mount(MountType.VOLUME, "/data", "data"),)
INIT = InitContainer(name="init", image=IMAGE, command=("sh", "-c", "echo begun >> /data/log"), mounts=DATA)
DB = PodContainer(name="db", image=IMAGE, command=("sleep", "1000000"), mounts=DATA)
WEB = PodContainer(name="web", image=IMAGE, command=("sleep", "2000000"), depends_on=(Dependency("db"),))
APP = PodContainer(name="app", image=IMAGE, command=("sleep", "3000000"))
STACK = Pod((WEB, DB), (INIT,))
ALONE = Container(image=IMAGE, command=("sleep", "4000000"))
ALONE_SENT = as_sent(ALONE)
HEALTHY = Health((WELL,), interval=0.1)
SICK = Health((UNWELL,), interval=0.1)
_LOOKS = 200
"""After so many the end must be reached."""


def changed(*names: str, pod: Pod = STACK, **more: object) -> Pod:
    one = tuple(msgspec.structs.replace(one, **more) if one.name in names else one for one in pod.containers)
    return msgspec.structs.replace(pod, containers=one)


class Case(msgspec.Struct, frozen=True):
    """A change, and which containers it may replace; `fails` is whether what ran before runs again in the end."""

    after: Workload | None
    before: Workload = as_sent(STACK)
    replaced: frozenset[str] = frozenset()
    fails: bool = False


CASES = {
    "one changes": Case(as_sent(changed("web", env={"A": "1"})), replaced=frozenset({"web"})),
    "all change": Case(
        as_sent(msgspec.structs.replace(changed("web", "db", env={"A": "1"}), init_containers=())),
        replaced=frozenset({"web", "db", "init"}),
    ),
    "one comes, and the addresses move on": Case(
        as_sent(Pod((WEB, DB, APP), (INIT,))), replaced=frozenset({"web", "db", "init"})
    ),
    "the first one changes": Case(
        as_sent(Pod((WEB, DB), (msgspec.structs.replace(INIT, env={"A": "1"}),))), replaced=frozenset({"init"})
    ),
    "one takes the place of the pod": Case(ALONE_SENT, replaced=frozenset({"web", "db", "init"})),
    "the pod takes the place of one": Case(as_sent(STACK), ALONE_SENT, frozenset({""})),
    "on trial": Case(
        as_sent(changed("web", health=HEALTHY, pod=msgspec.structs.replace(STACK, update=Update(deadline=60)))),
        replaced=frozenset({"web"}),
    ),
    "what cannot start": Case(as_sent(changed("web", command=(BROKEN,))), fails=True),
    "what is not well in time": Case(
        as_sent(changed("web", health=SICK, pod=msgspec.structs.replace(STACK, update=Update(deadline=1)))), fails=True
    ),
    "one alone changes": Case(
        as_sent(msgspec.structs.replace(ALONE, env={"A": "1"})), ALONE_SENT, replaced=frozenset({""})
    ),
    "one alone that cannot start": Case(
        as_sent(msgspec.structs.replace(ALONE, command=(BROKEN,))), ALONE_SENT, fails=True
    ),
    "one alone that is not well in time": Case(
        as_sent(msgspec.structs.replace(ALONE, health=SICK, update=Update(deadline=1))), ALONE_SENT, fails=True
    ),
    "it is withdrawn": Case(None, replaced=frozenset({"web", "db", "init"})),
}


class Oracle:
    """What must hold right before something ends, on the way to what is wanted."""

    def __init__(self, model: EngineModel, wanted: Workload) -> None:
        self._model = model
        self._wanted = wanted

    def __call__(self, ending: Made, removed: bool) -> None:
        seen = view(self._wanted, observed(self._model))
        kept = {one.id for one in seen.kept.values()}
        if ending.id in kept:
            return
        if ending.status == "running":
            missing = seen.wanted.keys() - seen.kept.keys()
            assert not missing, f"{ending.name} ends before {missing} can start"
        if removed and (ending.status == "running" or PREVIOUS in ending.name):
            name = ending.labels.get(CONTAINER_LABEL, "")
            successors = [seen.kept.get(name)] if name in seen.wanted else list(seen.kept.values())
            started = all(one is not None and one.status is not Status.CREATED for one in successors)
            assert started, f"{ending.name} goes before what takes its place has started"


def observed(model: EngineModel) -> list[Observed]:
    return [
        Observed(
            id=one.id,
            deployment="app",
            spec=one.labels[SPEC_LABEL],
            status=Status(one.status),
            name=one.name,
            container=one.labels.get(CONTAINER_LABEL, ""),
        )
        for one in model.made.values()
    ]


class Agent:
    """One agent's life."""

    def __init__(self, engine: Engine) -> None:
        self._observer = Observer(engine, OWNER)
        self._workloads = Workloads(engine, OWNER, NOWHERE, Sealing(NOWHERE.sealing_key, OWNER.device))

    async def settle(self, wanted: Workload | None) -> list[Observed]:
        """Look and act until nothing is left to do, or what ran before runs again."""
        desired = Deployment(1, wanted) if wanted is not None else None
        for _ in range(_LOOKS):
            there = await self._observer.look()
            actions = next_actions("app", desired, there)
            if not actions and _is_over(wanted, there):
                return there
            for action in list(actions.values())[:1]:
                problem = await self._workloads.carry_out("app", action, lambda _stage, _how_far: None)
                if problem is not None:
                    assert went_back(problem), problem
                    return await self._observer.look()
        raise AssertionError(f"no end is reached: {await self._observer.look()}")

    async def look(self) -> None:
        """A network whose pod is gone goes at an agent's first look (decision 070)."""
        await self._workloads.clear_left()


def went_back(problem: Problem) -> bool:
    return problem.reason is Reason.WENT_BACK or problem.message.endswith("what ran before runs again")


def _is_over(wanted: Workload | None, there: list[Observed]) -> bool:
    """Whether all that is wanted has started, and all that has an end has come to it."""
    if wanted is None:
        return not there
    seen = view(wanted, there)
    return len(there) == len(seen.wanted) and all(
        one.status is (Status.EXITED if one.container == INIT.name else Status.RUNNING) for one in seen.kept.values()
    )


def told(there: list[Observed]) -> dict[str, tuple[str, Status, str]]:
    found = {one.container: (one.id, one.status, one.spec) for one in there}
    assert len(found) == len(there), f"one is there twice: {there}"
    return found


class End(Enum):
    """What ends the agent, and what else ends with it."""

    KILL = "it is killed"
    POWER_CUT = "the power is cut, and the engine starts what ran"
    POWER_CUT_STARTS_NOTHING = "the power is cut, and the engine starts nothing"


async def once(case: Case, crash_after: int, end: End) -> bool:
    """Whether it was ended before it had come to the end."""
    model = EngineModel(frozenset({"init"}))
    before = told(await Agent(model).settle(case.before))
    network = model.networks.get(network_name(OWNER.device, "app"))
    model.left, crashed = crash_after, False
    if case.after is not None:
        model.before_end = Oracle(model, case.after)
    try:
        await Agent(model).settle(case.after)
    except Crash:
        crashed = True
    model.left = 0
    if crashed and end is not End.KILL:
        model.lose_power(starts=end is End.POWER_CUT)
    last = Agent(model)
    after = told(await last.settle(case.after))
    await last.look()
    await model.close()
    kept = {one: what for one, what in before.items() if one not in case.replaced}
    assert {one: after.get(one) for one in kept} == kept, "what was not changed was touched"
    if case.fails:
        assert after == before, "what ran before does not run again"
    if case.after == ALONE_SENT or case.after is None:
        assert not model.networks, "a network without a pod stays"
    elif network is not None:
        assert model.networks == {network_name(OWNER.device, "app"): network}, "another network"
    return crashed


@pytest.mark.parametrize("end", End, ids=lambda end: end.name.lower())
@pytest.mark.parametrize("name", CASES)
def test_an_agent_that_is_ended_after_any_change_is_followed_by_one_that_comes_to_the_same_end(
    name: str, end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.agent.observe.time", Clock())

    async def body() -> int:
        for crash_after in range(1, 200):
            try:
                crashed = await once(CASES[name], crash_after, end)
            except Exception as error:
                error.add_note(f"after {crash_after} changes {end.value}")
                raise
            if not crashed:
                return crash_after
        raise AssertionError("it never came to its end")

    assert asyncio.run(body()) > 3


class Clock:
    """Goes on by a fifth of a second with each look."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 0.2
        return self._now
