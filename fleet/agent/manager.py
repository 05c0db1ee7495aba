"""The level-based loop: compare desired deployments and containers, act on differences, report the actual state.

A new desired state, an engine event, a finished action and a timer all lead to the same complete look, so a change that
was missed is found by the next one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from fleet.agent.answers import EngineDown, EngineRefused, EngineSilent
from fleet.agent.desired_state import Deployment, DesiredState
from fleet.agent.judge import CRASHES, judge
from fleet.agent.judge_pod import gone_back, judge_pod
from fleet.agent.observe import Observer
from fleet.agent.pods import looks_again_in, may_begin, next_actions, stands_alone
from fleet.agent.problems import Problem, Waits, WentBack
from fleet.agent.reconcile import Action, Observed, Run, by_deployment
from fleet.agent.rollbacks import Rollbacks
from fleet.agent.supervise import keep_going, unforeseen
from fleet.agent.workloads import Workloads
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

Report = Callable[[dict[str, DeviceState], "frozenset[str] | None"], None]
"""Takes the state of each deployment, and which deployments have a container: None when the engine does not tell."""


_PATIENCE = 45.0
"""Seconds that an engine may be silent before it counts as unavailable: podman answers no list while it is busy with a
container, and a small board's disk makes that long."""
_LOOK_AGAIN = 1.0
"""Seconds after a look that was not answered in time."""


class _Failure:
    """A deployment whose last action failed: what to say, and when to try again (monotonic seconds)."""

    def __init__(self, desired: Deployment | None) -> None:
        self.desired = desired
        self.problem: Problem | None = None
        self.backoff = Backoff(1, 30)
        self.long_backoff = Backoff(20, 600)
        self.short_backoff = Backoff(1, 2)
        self.retry_at = 0.0


class _Work:
    """An action in progress, and the desired deployment it belongs to."""

    def __init__(self, desired: Deployment | None, action: Action) -> None:
        self.desired = desired
        self.action = action
        self.stage = Reason.STARTING
        self.how_far = ""
        self.task: asyncio.Task[None] | None = None

    @property
    def change(self) -> str:
        """The id of the command that ordered it."""
        return self.desired.change if self.desired else ""

    def outdated(self, desired: Deployment | None) -> bool:
        """Cancel pulls whose image is no longer needed, because a pull may never end."""
        return self.stage is Reason.PULLING and desired != self.desired


class Manager:
    """Keeps a device's containers in their desired state. `unsaved` says why that is not on disk, if so."""

    def __init__(
        self, observer: Observer, workloads: Workloads, report: Report, rollbacks: Rollbacks, *, resync: float
    ) -> None:
        self._observer = observer
        self._workloads = workloads
        self._report = report
        self._rollbacks = rollbacks
        self._resync = resync
        self._desired_state: DesiredState | None = None
        self._busy: dict[str, _Work] = {}
        self._failures: dict[str, _Failure] = {}
        self._wake = asyncio.Event()
        self._engine_error = ""
        self._silent_since: float | None = None
        self._met: dict[str, Problem] = {}
        self._may_begin = True
        self.unsaved = ""

    def want(self, desired_state: DesiredState) -> None:
        """From now on, this is what the device should run."""
        self._desired_state = desired_state
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
        desired_state = self._desired_state
        if desired_state is None:
            return self._resync
        try:
            observed = await self._observer.look()
        except (EngineDown, EngineRefused) as error:
            if self._may_be_busy(error):
                return _LOOK_AGAIN
            self._lost(desired_state, error)
            return self._resync
        self._silent_since = None
        if self._engine_error:
            _log.info("engine answers again")
            self._engine_error = ""
        if self._may_begin:
            group.create_task(self._workloads.clear_left())  # an engine that hangs at it delays no look
        containers = by_deployment(observed)
        met: dict[str, Problem] = {}
        actions = self._planned(desired_state, containers, met)
        self._forget(desired_state, actions)
        for name, action in actions.items():
            if self._may_begin and self._is_free(name, action) and self._due(name):
                work = self._busy[name] = _Work(desired_state.get(_deployment(name)), action)
                work.task = group.create_task(self._act(name, action, work))
        states = {
            name: self._judged(name, desired, containers.get(name, ()), met) for name, desired in desired_state.items()
        }
        self._met = met
        self._report(states, frozenset(containers))
        trials = (
            self._looks_again_in(name, desired, containers.get(name, ())) for name, desired in desired_state.items()
        )
        return min([self._pause(observed), *trials])

    def _planned(
        self, desired_state: DesiredState, containers: Mapping[str, Sequence[Observed]], met: dict[str, Problem]
    ) -> dict[str, Action]:
        """What to do; a deployment that cannot be planned is left as it is, and stands in `met`."""
        actions: dict[str, Action] = {}
        for name in dict.fromkeys((*desired_state, *containers)):
            try:
                back = self._rollbacks.problem(name, desired_state.get(name)) is not None
                actions |= next_actions(name, desired_state.get(name), containers.get(name, ()), rolled_back=back)
            except Exception as error:
                self._meet(name, error, met)
        return actions

    def _looks_again_in(self, name: str, desired: Deployment, containers: Sequence[Observed]) -> float:
        """As `looks_again_in`; a deployment for which that fails has no time, and the others continue."""
        try:
            return looks_again_in(desired, containers)
        except Exception as error:
            self._meet(name, error, self._met)
            return math.inf

    def _meet(self, name: str, error: Exception, met: dict[str, Problem]) -> None:
        """Keep an unexpected error as the problem of its deployment; report it once."""
        met[name] = unforeseen(error)
        if self._met.get(name) != met[name]:
            _log.error("a deployment meets what nobody foresaw; the others go on", deployment=name, exc_info=error)

    def _may_be_busy(self, error: EngineDown | EngineRefused) -> bool:
        """Whether the engine took the request, and has not been silent for long: what was last reported stands."""
        if not isinstance(error, EngineSilent):
            self._silent_since = None
            return False
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        return now - self._silent_since < _PATIENCE

    def _lost(self, desired_state: DesiredState, error: EngineDown | EngineRefused) -> None:
        if error.what != self._engine_error:
            _log.error("engine unavailable", why=error.what)
            self._engine_error = error.what
        problem = Problem(Reason.ENGINE_UNAVAILABLE, error.what)
        self._report({name: judge(desired, (), failure=problem) for name, desired in desired_state.items()}, None)

    def _forget(self, desired_state: DesiredState, actions: Mapping[str, Action]) -> None:
        """A failure counts only for the desired deployment it happened to, and while there is something to do."""
        for name, failure in list(self._failures.items()):
            if failure.desired != desired_state.get(_deployment(name)) or (
                name not in actions and name not in self._busy
            ):
                del self._failures[name]
        for name, work in self._busy.items():
            if work.task and work.outdated(desired_state.get(_deployment(name))):
                work.task.cancel()

    def _is_free(self, name: str, action: Action) -> bool:
        return may_begin(name, action, {unit: work.action for unit, work in self._busy.items()})

    def _due(self, name: str) -> bool:
        failure = self._failures.get(name)
        return failure is None or time.monotonic() >= failure.retry_at

    async def _act(self, name: str, action: Action, work: _Work) -> None:
        if isinstance(action, Run):
            _log.info(
                "container starts",
                deployment=name,
                image=action.workload.image,
                replaces=action.instead_of,
                change=work.change,
            )
        try:
            problem = await self._workloads.carry_out(_deployment(name), action, partial(self._at, work))
        except Exception as error:
            problem = unforeseen(error)
            _log.exception("a deployment meets what nobody foresaw; the others go on", deployment=name)
        finally:
            del self._busy[name]
            self._wake.set()
        if problem is None:
            self._succeeded(name, action)
            return
        if problem.reason is Reason.WENT_BACK and work.desired is not None:
            self._rollbacks.add(_deployment(name), work.desired, problem.message)
            return
        failure = self._failures.setdefault(name, _Failure(work.desired))
        if failure.problem != problem:
            _log.warning(
                "not in its desired state",
                deployment=name,
                reason=problem.reason.value,
                why=problem.message,
                change=work.change,
            )
        failure.problem = problem
        pauses = failure.backoff
        if isinstance(problem, WentBack) or problem.reason is Reason.REGISTRY_BUSY:
            pauses = failure.long_backoff
        elif isinstance(problem, Waits):
            pauses = failure.short_backoff
        failure.retry_at = time.monotonic() + pauses.next()

    def _succeeded(self, name: str, action: Action) -> None:
        """What went back has not succeeded while it is only made anew: each attempt stops what runs."""
        failure = self._failures.get(name)
        only_created = isinstance(action, Run) and not action.start
        if failure is not None and only_created and isinstance(failure.problem, WentBack):
            failure.retry_at = 0.0
        else:
            self._failures.pop(name, None)

    def _at(self, work: _Work, stage: Reason, how_far: str) -> None:
        work.stage, work.how_far = stage, how_far
        self._wake.set()

    def _judged(
        self, name: str, desired: Deployment, containers: Sequence[Observed], met: dict[str, Problem]
    ) -> DeviceState:
        stages = {unit: (work.stage, work.how_far) for unit, work in self._busy.items() if _deployment(unit) == name}
        failures = {unit: failure.problem for unit, failure in self._failures.items() if _deployment(unit) == name}
        whole = met.get(name) or failures.pop(name, None)
        if whole is None and (back := self._rollbacks.problem(name, desired)) is not None:
            whole = gone_back(back, {_container(unit): failure for unit, failure in failures.items() if failure})
        try:
            if stands_alone(desired.workload, containers):
                return judge(desired, containers, busy=stages.get(name), failure=whole, unsaved=self.unsaved)
            busy = {_container(unit): stage for unit, stage in stages.items()}
            reasons = {_container(unit): failure for unit, failure in failures.items() if failure}
            return judge_pod(desired, containers, busy=busy, failures=reasons, failure=whole, unsaved=self.unsaved)
        except Exception as error:
            self._meet(name, error, met)
            return DeviceState(desired.generation, Phase.FAILED, met[name].reason, met[name].message)

    def _pause(self, observed: list[Observed]) -> float:
        now = time.monotonic()
        retries = [
            max(0.0, failure.retry_at - now) for name, failure in self._failures.items() if name not in self._busy
        ]
        settling = [
            container.steady_in for container in observed if container.restarts >= CRASHES and container.steady_in > 0
        ]
        return min([self._resync, *retries, *settling])


def _deployment(unit: str) -> str:
    return unit.partition("/")[0]


def _container(unit: str) -> str:
    return unit.partition("/")[2]
