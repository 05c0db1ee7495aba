"""What a run may ask of a cluster that is only visited: pure, and judged before anything is sent.

A run looks at whatever its login may see. It writes nothing but devices and deployments of one namespace, and of those
only such as bear its own mark, which each gets when it is made. Read-only, it writes nothing at all.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import msgspec

from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES, GROUP
from harness.errors import Misused

Json = dict[str, Any]

RUN_LABEL = f"{GROUP}/test-run"
"""On everything that a run makes, and on its lease: the run's id."""

_LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
_DOORS = frozenset({"exec", "attach", "portforward", "proxy"})
"""Subresources by which a look may change things."""
_PAGE = re.compile(r"/api/v1/namespaces/[^/]+/pods/[^/]+/proxy/(metrics|readyz|healthz)")
"""What a pod of ours tells about itself."""
_WHO = re.compile(r"/apis/authentication\.k8s\.io/v1(alpha1|beta1)?/selfsubjectreviews")
"""The identity of the login; the request is a POST, and changes nothing."""


class Verdict(Enum):
    """What becomes of a request."""

    SEND = "send"
    """It is sent as it is."""
    MARK = "mark"
    """It makes an object, which gets the mark."""
    OWN = "own"
    """Sent if the object has the run's mark, or does not exist."""


class Rules(msgspec.Struct, frozen=True):
    """What holds for a run. Without `run_id` it may only look."""

    namespace: str
    run_id: str = ""


class Forbidden(Exception):  # noqa: N818 - a verdict, for the caller
    """The request is not sent; the text says why."""


class Target(msgspec.Struct, frozen=True):
    """What a request is about; `name` is empty for a collection."""

    plural: str
    name: str


def judge(rules: Rules, method: str, path: str) -> tuple[Verdict, Target]:
    """What becomes of a request, and which object it is about.

    Raises:
        Forbidden: it is not sent.
    """
    words = path.strip("/").split("/")
    target = _target(rules, words)
    if method in _LOOKS:
        if _DOORS & set(words) and not _PAGE.fullmatch(path):
            raise Forbidden(f"{words[-1]} may be more than a look")
        return Verdict.SEND, target
    if method == "POST" and _WHO.fullmatch(path):
        return Verdict.SEND, target
    if not rules.run_id:
        raise Forbidden("this run may only look, and this would change something")
    if target.plural not in {DEVICES, DEPLOYMENTS}:
        raise Forbidden(f"this run writes nothing but {DEVICES} and {DEPLOYMENTS} in {rules.namespace}")
    if method == "POST" and not target.name:
        return Verdict.MARK, target
    if not target.name:
        raise Forbidden(f"this run does not {method} all {target.plural} at once")
    return Verdict.OWN, target


def check_owner(rules: Rules, target: Target, held: Json | None) -> None:
    """Whether the object is ours; none is fine.

    Raises:
        Forbidden: it is somebody else's.
    """
    if held is None:
        return
    owner = held["metadata"].get("labels", {}).get(RUN_LABEL)
    if owner != rules.run_id:
        maker = f"the run {owner}" if owner else "somebody who is no test run"
        raise Forbidden(f"{target.plural}/{target.name} was made by {maker}, and this is the run {rules.run_id}")


def marked(rules: Rules, body: bytes, kind: str) -> bytes:
    """The body of a request with our mark.

    Raises:
        Misused: it cannot be marked: it is neither JSON nor YAML, or a JSON patch of labels.
    """
    try:
        value: Any = msgspec.yaml.decode(body)
    except msgspec.DecodeError as error:
        raise Misused(f"the body cannot be marked: {error}", next_step="send JSON or YAML") from error
    if kind.startswith("application/json-patch"):
        _keeps_labels(value)
        return body
    if not isinstance(value, dict):
        raise Misused("the body cannot be marked: it is no object", next_step="send one object")
    item: Json = value  # pyright: ignore[reportUnknownVariableType]
    metadata: Json = item.get("metadata") or {}
    labels: Json = metadata.get("labels") or {}
    return msgspec.json.encode({**item, "metadata": {**metadata, "labels": {**labels, RUN_LABEL: rules.run_id}}})


class _Operation(msgspec.Struct):
    """A step of a JSON patch (RFC 6902); both places are JSON pointers (RFC 6901)."""

    path: str
    from_: str = msgspec.field(default="/", name="from")


def _keeps_labels(patch: object) -> None:
    """An object that is ours bears our mark in its labels: no step may reach those, nor what they are in."""
    try:
        operations = msgspec.convert(patch, list[_Operation])
    except msgspec.ValidationError as error:
        raise Misused(f"the body is no JSON patch: {error}", next_step="send one, or a merge patch") from error
    for operation in operations:
        for place in (operation.path, operation.from_):
            if place in {"", "/metadata"} or f"{place}/".startswith("/metadata/labels/"):
                raise Misused("a JSON patch may take the run's labels away", next_step="send a merge patch")


def _target(rules: Rules, words: list[str]) -> Target:
    prefix = ["apis", *API_VERSION.split("/"), "namespaces", rules.namespace]
    if words[: len(prefix)] != prefix or len(words) == len(prefix):
        return Target("", "")
    plural, *name = words[len(prefix) :]
    return Target(plural, name[0] if name else "")
