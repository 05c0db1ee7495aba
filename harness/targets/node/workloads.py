"""What pods say of themselves, as components: pure functions over the objects of Kubernetes."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import TargetUnavailable
from harness.processes.spec import ComponentStatus, Event, Side

Json = dict[str, Any]

_COMPONENT = "app.kubernetes.io/component"
_PRODUCT = ("callout", "operator")


def by_part(pods: Sequence[Json]) -> Mapping[str, list[Json]]:
    """Pods by the component that they are of; those on their way out last."""
    found: dict[str, list[Json]] = defaultdict(list)
    for pod in sorted(pods, key=lambda item: ("deletionTimestamp" in item["metadata"], item["metadata"]["name"])):
        labels: dict[str, str] = pod["metadata"].get("labels", {})
        if _COMPONENT in labels:
            found[labels[_COMPONENT]].append(pod)
    return found


def is_ready(pod: Json) -> bool:
    """Whether Kubernetes sends it traffic."""
    conditions: list[Json] = pod["status"].get("conditions", [])
    return "deletionTimestamp" not in pod["metadata"] and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def status_of(name: str, pods: Sequence[Json], pid: int | None) -> ComponentStatus:
    """A component with several pods is ready when one of them is; its starts are those of all its containers."""
    restarts = sum(
        container["restartCount"] for pod in pods for container in pod["status"].get("containerStatuses", [])
    )
    ready = any(map(is_ready, pods))
    why = "" if ready else "; ".join(_why_not(pod) for pod in pods)
    return ComponentStatus(name, side_of(name), pid, restarts + len(pods), unready=why)


def side_of(name: str) -> Side:
    """Whose failure it is when the component ends."""
    return "product" if name in _PRODUCT else "world"


def deaths(pods: Sequence[Json], since: datetime.datetime) -> list[str]:
    """Containers that ended from then on, and were started again."""
    problems: list[str] = []
    for pod in pods:
        for container in pod["status"].get("containerStatuses", []):
            ended = container.get("lastState", {}).get("terminated")
            if ended and datetime.datetime.fromisoformat(ended["finishedAt"]) >= since:
                cause = f"{ended.get('reason', 'no reason')}, exit code {ended.get('exitCode')}"
                problems.append(f"{pod['metadata']['name']}/{container['name']} ended ({cause})")
    return problems


def event_of(item: Json, offset: float) -> Event | None:
    """An event of Kubernetes on our clocks; `offset` is the wall clock minus the monotonic clock.

    The older kind of event has whole seconds, rounded down. It counts as from the end of its second, else one that a
    test caused in its first second would be taken for one from before the test.
    """
    exact = item.get("eventTime")
    at = exact or item.get("lastTimestamp") or item.get("firstTimestamp")
    if not at:
        return None
    wall = datetime.datetime.fromisoformat(at).timestamp() + (0 if exact else 0.999)
    about = item["involvedObject"]
    words = f"{item.get('type', '')} {item.get('reason', '')}: {item.get('message') or item.get('note', '')}"
    return Event(wall, wall - offset, words, f"{about['kind'].lower()}/{about['name']}")


def health_port(pod: Json) -> int:
    """The port on which a pod of ours tells how it is: that of its readiness probe.

    Raises:
        TargetUnavailable: it tells nobody outside, as NATS does.
    """
    container = pod["spec"]["containers"][0]
    probe = container["readinessProbe"].get("httpGet")
    if probe is None:
        name = pod["metadata"]["name"]
        raise TargetUnavailable(f"{name} answers inside its own pod alone", next_step="ask it in another way")
    port = probe["port"]
    named = {it["name"]: it["containerPort"] for it in container.get("ports", [])}
    return int(named.get(port, port))


def _why_not(pod: Json) -> str:
    name, status = pod["metadata"]["name"], pod["status"]
    waiting = [
        state["state"]["waiting"] for state in status.get("containerStatuses", []) if "waiting" in state["state"]
    ]
    messages = [f"{state.get('reason', '')} {state.get('message', '')}".strip() for state in waiting]
    messages += [
        condition["message"]
        for condition in status.get("conditions", [])
        if condition["status"] == "False" and condition.get("message")
    ]
    return f"{name} is {status.get('phase', 'new')}, not ready" + (f" ({messages[0]})" if messages else "")
