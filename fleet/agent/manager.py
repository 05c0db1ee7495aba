"""The level-based loop: look at wishes and containers, act where they differ, report what is.

Wishes, engine events, finished actions and a timer all lead to the same complete look, so that nothing depends on
having heard of a change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from fleet.agent.answers import EngineDown, EngineRefused
from fleet.agent.backoff import Backoff
from fleet.agent.judge import CRASHES, judge
from fleet.agent.observe import Observer
from fleet.agent.reconcile import Action, Observed, Run, by_deployment, next_action
from fleet.agent.supervise import keep_going, unforeseen
from fleet.agent.wishes import Problem, WentBack, Wish, Wishes
from fleet.agent.workloads import Workloads
from fleet.contract.wire import DeviceState, Phase, Reason

_log = structlog.stdlib.get_logger()

Report = Callable[[dict[str, DeviceState], "frozenset[str] | None"], None]
"""Takes the state of each deployment, and which deployments have a container: None when the engine does not tell."""


class _Failure:
    """A deployment whose last action failed: what to say, and when to try again (monotonic seconds)."""

    def __init__(self, wish: Wish | None) -> None:
        self.wish = wish
        self.problem: Problem | None = None
        self.backoff = Backoff(1, 30)
        self.long_backoff = Backoff(20, 600)
        self.retry_at = 0.0


class _Work:
    """An action under way, and the wish it serves."""

    def __init__(self, wish: Wish | None) -> None:
        self.wish = wish
        self.stage = Reason.STARTING
        self.task: asyncio.Task[None] | None = None

    def outdated(self, wish: Wish | None) -> bool:
        """A pull may take for ever, and nobody waits for its image any more."""
        return self.stage is Reason.PULLING and wish != self.wish


class Manager:
    """Keeps one device's containers as they are wished. `unsaved` says why the wishes are not on disk, if so."""

    def __init__(self, observer: Observer, workloads: Workloads, report: Report, *, resync: float) -> None:
        """Wish nothing yet: until `want` is called, no container is touched. `resync` in seconds."""
        self._observer = observer
        self._workloads = workloads
        self._report = report
        self._resync = resync
        self._wishes: Wishes | None = None
        self._busy: dict[str, _Work] = {}
        self._failures: dict[str, _Failure] = {}
        self._wake = asyncio.Event()
        self._engine_error = ""
        self._met: dict[str, Problem] = {}
        self._may_begin = True
        self.unsaved = ""

    def want(self, wishes: Wishes) -> None:
        """From now on, this is what the device should run."""
        self._wishes = wishes
        self._wake.set()

    @property
    def busy(self) -> bool:
        """Whether an action is under way."""
        return bool(self._busy)

    def allow(self, *, may_begin: bool) -> None:
        """Whether an action may begin from now on; those under way end."""
        self._may_begin = may_begin
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled; containers go on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_going("engine's events", self._follow_engine))
            while True:
                self._wake.clear()
                pause = await self._once(group)
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _follow_engine(self) -> None:
        backoff = Backoff(0.25, 5)
        while True:
            try:
                async for _ in self._observer.changes():
                    backoff.reset()
                    self._wake.set()
            except (EngineDown, EngineRefused):
                self._wake.set()
            await asyncio.sleep(backoff.next())

    async def _once(self, group: asyncio.TaskGroup) -> float:
        """One complete look; returns the seconds until the next one is due without being woken."""
        wishes = self._wishes
        if wishes is None:
            return self._resync
        try:
            observed = await self._observer.look()
        except (EngineDown, EngineRefused) as error:
            self._lost(wishes, error)
            return self._resync
        if self._engine_error:
            _log.info("engine answers again")
            self._engine_error = ""
        found = by_deployment(observed)
        met: dict[str, Problem] = {}
        actions = self._planned(wishes, found, met)
        self._forget(wishes, actions)
        for name, action in actions.items():
            if self._may_begin and name not in self._busy and self._due(name):
                work = self._busy[name] = _Work(wishes.get(name))
                work.task = group.create_task(self._act(name, action, work))
        states = {name: self._judged(name, wish, found.get(name, ()), met) for name, wish in wishes.items()}
        self._met = met
        self._report(states, frozenset(found))
        return self._pause(observed)

    def _planned(
        self, wishes: Wishes, found: Mapping[str, Sequence[Observed]], met: dict[str, Problem]
    ) -> dict[str, Action]:
        """What to do; a deployment that cannot be planned is left as it is, and stands in `met`."""
        actions: dict[str, Action] = {}
        for name in dict.fromkeys((*wishes, *found)):
            try:
                action = next_action(wishes.get(name), found.get(name, ()))
            except Exception as error:
                self._meet(name, error, met)
            else:
                if action is not None:
                    actions[name] = action
        return actions

    def _meet(self, name: str, error: Exception, met: dict[str, Problem]) -> None:
        """Keep an error that nobody foresaw as the deployment's own; tell it once."""
        met[name] = unforeseen(error)
        if self._met.get(name) != met[name]:
            _log.error("a deployment meets what nobody foresaw; the others go on", deployment=name, exc_info=error)

    def _lost(self, wishes: Wishes, error: EngineDown | EngineRefused) -> None:
        if error.what != self._engine_error:
            _log.error("engine unavailable", why=error.what)
            self._engine_error = error.what
        problem = Problem(Reason.ENGINE_UNAVAILABLE, error.what)
        self._report({name: judge(wish, (), failure=problem) for name, wish in wishes.items()}, None)

    def _forget(self, wishes: Wishes, actions: Mapping[str, Action]) -> None:
        """A failure counts only for the wish it happened to, and while there is something to be done."""
        for name, failure in list(self._failures.items()):
            if failure.wish != wishes.get(name) or (name not in actions and name not in self._busy):
                del self._failures[name]
        for name, work in self._busy.items():
            if work.task and work.outdated(wishes.get(name)):
                work.task.cancel()

    def _due(self, name: str) -> bool:
        failure = self._failures.get(name)
        return failure is None or time.monotonic() >= failure.retry_at

    async def _act(self, name: str, action: Action, work: _Work) -> None:
        if isinstance(action, Run):
            _log.info("container starts", deployment=name, image=action.workload.image, replaces=action.instead_of)
        try:
            problem = await self._workloads.carry_out(name, action, lambda stage: self._at(work, stage))
        except Exception as error:
            problem = unforeseen(error)
            _log.exception("a deployment meets what nobody foresaw; the others go on", deployment=name)
        finally:
            del self._busy[name]
            self._wake.set()
        if problem is None:
            self._failures.pop(name, None)
            return
        failure = self._failures.setdefault(name, _Failure(work.wish))
        if failure.problem != problem:
            _log.warning("not as wished", deployment=name, reason=problem.reason.value, why=problem.message)
        failure.problem = problem
        pauses = failure.long_backoff if isinstance(problem, WentBack) else failure.backoff
        failure.retry_at = time.monotonic() + pauses.next()

    def _at(self, work: _Work, stage: Reason) -> None:
        work.stage = stage
        self._wake.set()

    def _judged(self, name: str, wish: Wish, containers: Sequence[Observed], met: dict[str, Problem]) -> DeviceState:
        failure, work = self._failures.get(name), self._busy.get(name)
        try:
            return judge(
                wish,
                containers,
                busy=work.stage if work else None,
                failure=met.get(name) or (failure.problem if failure else None),
                unsaved=self.unsaved,
            )
        except Exception as error:
            self._meet(name, error, met)
            return DeviceState(wish.generation, Phase.FAILED, met[name].reason, met[name].message)

    def _pause(self, observed: list[Observed]) -> float:
        now = time.monotonic()
        retries = [
            max(0.0, failure.retry_at - now) for name, failure in self._failures.items() if name not in self._busy
        ]
        settling = [one.steady_in for one in observed if one.restarts >= CRASHES and one.steady_in > 0]
        return min([self._resync, *retries, *settling])
