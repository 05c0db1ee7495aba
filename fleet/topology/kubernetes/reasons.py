"""Why a workload is not ready, from what Kubernetes says of it, its pods and its claims. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import component_of, many, pods_of

_NO_IMAGE = {"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName"}
_NO_START = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


class Why(msgspec.Struct, frozen=True, order=True):
    """A sentence. Some reasons go by themselves, such as an image that is being pulled; the hopeless ones do not."""

    text: str
    hopeless: bool = False


class Surroundings(msgspec.Struct, frozen=True):
    """What a namespace holds beside its workloads: pods, claims, and events of type Warning."""

    pods: Sequence[Json]
    claims: Sequence[Json]
    warnings: Sequence[Json]


def settled(workload: Json) -> bool:
    """Whether all its pods are of the newest template, and ready."""
    spec, status = workload["spec"], workload.get("status", {})
    wanted = spec["replicas"]
    return (
        status.get("observedGeneration", 0) >= workload["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("readyReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def reasons(workload: Json, around: Surroundings) -> list[Why]:
    """Why it is not settled, the most telling first; never empty."""
    found = list(dict.fromkeys(_found(workload, around)))
    hopeless = [why for why in found if why.hopeless]
    return (hopeless or found)[:3] or [Why(_progress(workload))]


def _found(workload: Json, around: Surroundings) -> Iterator[Why]:
    component = component_of(workload)
    pods = [pod for pod in around.pods if _selected(pod, component)]
    for condition in many(workload.get("status", {}), "conditions"):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield Why(f"Kubernetes makes no pods: {condition['message']}", hopeless=True)
    if not pods:
        for warning in _of(around.warnings, workload["kind"], workload["metadata"]["name"]):
            if warning["reason"] == "FailedCreate":
                yield Why(f"Kubernetes makes no pods: {warning['message']}", hopeless=True)
    for claim in around.claims:
        if _selected(claim, component):
            yield from _of_claim(claim, around.warnings)
    for pod in pods:
        yield from _of_pod(pod, around.warnings)


def _of_claim(claim: Json, warnings: Sequence[Json]) -> Iterator[Why]:
    name, phase = claim["metadata"]["name"], claim.get("status", {}).get("phase", "Pending")
    if phase == "Bound":
        return
    messages = [warning["message"] for warning in _of(warnings, "PersistentVolumeClaim", name)]
    yield Why(f"its volume {name} is not there{_because(messages)}", hopeless=bool(messages))


def _of_pod(pod: Json, warnings: Sequence[Json]) -> Iterator[Why]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if "deletionTimestamp" in pod["metadata"]:
        yield Why(f"the earlier {name} is still ending")
        return
    for condition in many(status, "conditions"):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield Why(f"no node takes {name}: {condition.get('message', 'no reason given')}", hopeless=True)
            return
    messages = [warning["message"] for warning in _of(warnings, "Pod", name)]
    for container in many(status, "containerStatuses"):
        if not container.get("ready"):
            yield _of_container(name, container, messages)


def _of_container(pod: str, container: Json, messages: Sequence[str]) -> Why:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _NO_IMAGE:
        return Why(f"the image {container['image']} cannot be had: {message or reason}", hopeless=True)
    if reason in _NO_START:
        return Why(f"{pod} cannot start: {message or reason}", hopeless=True)
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    if ended:
        words = str(ended.get("message", "")).strip().splitlines()[-3:] or [ended.get("reason", "no reason given")]
        crashes = container.get("restartCount", 0)
        text = f"{pod} ended with code {ended.get('exitCode')}, {crashes} times: {' / '.join(words)}"
        return Why(text, hopeless=crashes > 2)
    if "running" in state:
        return Why(f"{pod} runs, and is not ready{_because(messages)}")
    return Why(f"{pod} is being made{_because(messages)}")


def _progress(workload: Json) -> str:
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return "Kubernetes has not looked at it yet"
    return f"{status.get('readyReplicas', 0)} of {workload['spec']['replicas']} pods are ready"


def _selected(item: Json, component: str) -> bool:
    return pods_of(component).items() <= item["metadata"].get("labels", {}).items()


def _of(warnings: Sequence[Json], kind: str, name: str) -> list[Json]:
    """The warnings about an object, the newest first."""
    about = [w for w in warnings if (w["involvedObject"].get("kind"), w["involvedObject"].get("name")) == (kind, name)]
    return sorted(about, key=lambda warning: str(warning.get("lastTimestamp") or ""), reverse=True)


def _because(messages: Sequence[str]) -> str:
    return f": {messages[0]}" if messages else ""
