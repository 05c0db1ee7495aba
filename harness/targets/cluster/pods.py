"""The parts of a fleet server that runs as pods: looked at; ended only in a cluster of our own."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import HarnessError, Misused, TargetUnavailable
from harness.parts import Event, PartStatus
from harness.probes.kube import KubeProbe
from harness.targets.local import LocalParts

Json = dict[str, Any]

_PART_LABEL = "app.kubernetes.io/name"
_PRODUCT = ("callout", "operator")


class PodParts:
    """Satisfies `Parts`: the server's pods, and beside them whatever of the run's agents lives on this machine."""

    def __init__(self, kube: KubeProbe, local: LocalParts, unfit: Callable[[], list[str]], *, ours: bool) -> None:
        """`unfit` says what else is wrong with the target: its issuer, our lease. `ours` lets pods be deleted."""
        self._kube = kube
        self._ours = ours
        self._local = local
        self._unfit = unfit

    def statuses(self) -> Mapping[str, PartStatus]:
        """As `Parts.statuses`; a part with several pods counts as ready when one is."""
        found: dict[str, PartStatus] = {}
        for pod in self._pods():
            name = pod["metadata"].get("labels", {}).get(_PART_LABEL, pod["metadata"]["name"])
            conditions: list[dict[str, str]] = pod["status"].get("conditions", [])
            ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
            restarts = sum(it["restartCount"] for it in pod["status"].get("containerStatuses", []))
            side = "product" if name in _PRODUCT else "world"
            if name not in found or ready:
                found[name] = PartStatus(name, side, 1, 1 + restarts, unready="" if ready else "its pod is not ready")
        return {**found, **self._local.statuses()}

    def kill(self, name: str) -> None:
        """As `Parts.kill`: deletes a part's pods without grace, and its controller makes new ones."""
        if not self._ours or name in self._local.statuses():
            self._own("end", name).kill(name)
            return
        self.record("pods deleted", name)
        for pod in self._pods():
            if pod["metadata"].get("labels", {}).get(_PART_LABEL) == name:
                self._kube.delete(f"{self._path}/{pod['metadata']['name']}?gracePeriodSeconds=0")

    def stop(self, name: str) -> None:
        """As `Parts.stop`: of agents on this machine only, and so are the next three."""
        self._own("stop", name).stop(name)

    def start(self, name: str) -> None:
        """As `Parts.start`."""
        self._own("start", name).start(name)

    def pause(self, name: str) -> None:
        """As `Parts.pause`."""
        self._own("freeze", name).pause(name)

    def resume(self, name: str) -> None:
        """As `Parts.resume`."""
        self._own("unfreeze", name).resume(name)

    def fetch(self, name: str, path: str) -> list[str]:
        """As `Parts.fetch`: a visitor has no way to a pod's own port."""
        raise TargetUnavailable(
            f"{name}{path} cannot be asked in a cluster that is only visited", next_step="ask on embedded or node"
        )

    def problems(self, since: float) -> list[str]:
        """As `Parts.problems`."""
        found = [*self._unfit(), *self._local.problems(since)]
        try:
            found += [
                f"{name}: {it.unready}" for name, it in self.statuses().items() if it.side == "world" and it.unready
            ]
        except HarnessError as error:
            found.append(error.what)
        return found

    def product_deaths(self, since: float) -> list[str]:
        """As `Parts.product_deaths`; the cluster's clock and ours must agree for it."""
        from_then_on = datetime.datetime.fromtimestamp(time.time() - time.monotonic() + since, datetime.UTC)
        deaths = [death for pod in self._pods() for death in _deaths(pod, from_then_on)]
        return deaths + self._local.product_deaths(since)

    def history(self, since: float) -> list[Event]:
        """As `Parts.history`."""
        return self._local.history(since)

    def record(self, what: str, part: str) -> None:
        """As `Parts.record`."""
        self._local.record(what, part)

    def _pods(self) -> list[Json]:
        return (self._kube.get(self._path) or {"items": []})["items"]

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self._kube.namespace}/pods"

    def _own(self, verb: str, name: str) -> LocalParts:
        if name not in self._local.statuses():
            raise Misused(f"cannot {verb} {name}, which is a pod", next_step="mark the test `embedded`")
        return self._local


def _deaths(pod: Json, since: datetime.datetime) -> list[str]:
    found: list[str] = []
    for container in pod["status"].get("containerStatuses", []):
        ended = container.get("lastState", {}).get("terminated")
        if ended and datetime.datetime.fromisoformat(ended["finishedAt"]) >= since:
            reason = f"{ended.get('reason', 'no reason')}, exit code {ended.get('exitCode')}"
            found.append(f"{pod['metadata']['name']}/{container['name']} ended ({reason})")
    return found
