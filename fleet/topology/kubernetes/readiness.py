"""The wait until workloads are settled: it reports what is missing, and ends early if that cannot come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fleet.contract.errors import FleetError, NotPermitted, TimedOut
from fleet.kube.paths import api_path
from fleet.topology.capabilities import Json, ServiceStatus
from fleet.topology.kubernetes.labels import component_of, is_ours, serves_us
from fleet.topology.kubernetes.reasons import Surroundings, Why, reasons, settled

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

_WORKLOADS = ("StatefulSet", "Deployment")
_INTERVAL = 0.2
"""Seconds between looks."""
PATIENCE = 20.0
"""Seconds for which a reason that does not go by itself may stand: somebody may be mending it."""


class Watcher:
    """Looks at the workloads of one namespace."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace

    def statuses(self) -> list[ServiceStatus]:
        """How every service of ours stands, by name."""
        # Kubernetes leaves out the kind of what it lists.
        listed = ((kind, item) for kind in _WORKLOADS for item in self._kube.list(kind, self._namespace))
        found = [{**item, "kind": kind} for kind, item in listed if serves_us(item)]
        unready = self._unready(found)
        names = sorted(component_of(item) for item in found)
        return [ServiceStatus(name, name not in unready, _sentence(unready.get(name, []))) for name in names]

    def await_settled(self, workloads: Sequence[Json], seconds: float, progress: Callable[[str], None]) -> None:
        """Return once all are settled.

        Raises:
            TimedOut: they were not in time; says what was missing.
            FleetError: what is missing cannot come.
        """
        deadline = time.monotonic() + seconds
        shown, hopeless_since = "", float("inf")
        while unready := self._unready([self._again(item) for item in workloads]):
            state = "; ".join(f"{name}: {_sentence(whys)}" for name, whys in sorted(unready.items()))
            if state != shown:
                progress(f"waiting: {state}")
                shown = state
            now = time.monotonic()
            hopeless = any(why.hopeless for whys in unready.values() for why in whys)
            hopeless_since = min(hopeless_since, now) if hopeless else float("inf")
            if now - hopeless_since > min(PATIENCE, seconds):
                raise FleetError(f"not ready: {state}", next_step="mend it, then repeat; what was done stays")
            if now > deadline:
                raise TimedOut(
                    f"not ready within {seconds:g} s: {state}",
                    next_step="mend it or give it more --timeout, then repeat; what was done stays",
                )
            time.sleep(_INTERVAL)

    def await_gone(self, components: Sequence[str], seconds: float) -> None:
        """Return once no pod of the services is left.

        Raises:
            TimedOut: some are.
        """
        deadline = time.monotonic() + seconds
        while left := [pod for pod in self._pods() if component_of(pod) in components]:
            if time.monotonic() > deadline:
                names = ", ".join(pod["metadata"]["name"] for pod in left)
                raise TimedOut(f"these pods do not end: {names}", next_step="see `kubectl describe pod`, then repeat")
            time.sleep(_INTERVAL)

    def _again(self, item: Json) -> Json:
        kind, name = item["kind"], item["metadata"]["name"]
        return self._kube.request("GET", api_path(kind, name, self._namespace))

    def _unready(self, workloads: Sequence[Json]) -> dict[str, list[Why]]:
        waiting = [item for item in workloads if not settled(item)]
        if not waiting:
            return {}
        around = self._surroundings()
        return {component_of(item): reasons(item, around) for item in waiting}

    def _surroundings(self) -> Surroundings:
        try:
            claims = [item for item in self._kube.list("PersistentVolumeClaim", self._namespace) if is_ours(item)]
            return Surroundings(self._pods(), claims, self._warnings())
        except NotPermitted:  # then the reasons are fewer
            return Surroundings([], [], [])

    def _pods(self) -> list[Json]:
        return [item for item in self._kube.list("Pod", self._namespace) if is_ours(item)]

    def _warnings(self) -> list[Json]:
        path = f"{api_path('Event', '', self._namespace)}?limit=500&fieldSelector=type%3DWarning"
        return self._kube.request("GET", path)["items"]


def _sentence(whys: Sequence[Why]) -> str:
    return ", ".join(why.text for why in whys)
