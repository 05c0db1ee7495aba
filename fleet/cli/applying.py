"""Applies a deployment: by a dry run first, and then only over the object that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from fleet.cli.context import as_json
from fleet.cli.invalid import typed
from fleet.cli.ordering import new_change
from fleet.cli.texts import refuse_no_text
from fleet.contract.change import APPLIED, OURS, Change
from fleet.contract.errors import Conflict, InvalidInput
from fleet.contract.limits import LARGEST, MAX_DESIRED
from fleet.contract.objects import DeploymentSpec, FleetDeployment
from fleet.contract.pod import as_sent
from fleet.contract.revision import RESTARTED
from fleet.contract.wire import Desired, encode, from_builtins

if TYPE_CHECKING:
    from fleet.cli.deployment_source import DeploymentSource
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

_KIND = FleetDeployment.__name__
_ATTEMPTS = 10
"""Each attempt reads the object again, because another client wrote in between: for example the operator a status."""


class Done(NamedTuple):
    """The result of an apply or of its dry run: one line for each field that differs."""

    created: bool
    changes: list[str]
    item: Json
    change: Change | None = None


def carry_out(
    kube: KubeClient, source: DeploymentSource, namespace: str, command: str, *, dry_run: bool, force: bool = False
) -> Done:
    """Apply a deployment, unless nothing would change; `command` is what was typed, without its arguments.

    `force` takes over what another manager has set.

    Raises:
        Conflict: a field is another manager's, the file was written from an older state, or others write all the time.
        FleetError: see `KubeClient.put`.
    """
    from fleet.kube.refusals import Outdated  # noqa: PLC0415

    for _ in range(_ATTEMPTS - 1):
        try:
            return _attempt(kube, source, namespace, command, dry_run=dry_run, force=force)
        except Outdated:
            continue
    return _attempt(kube, source, namespace, command, dry_run=dry_run, force=force)


def would(name: str, done: Done) -> list[str]:
    """What a dry run says, in lines."""
    what = "would be created" if done.created else "would change" if done.changes else "nothing would change"
    return [f"{name}: {what}; nothing was applied", *(f"  {line}" for line in done.changes)]


def _attempt(
    kube: KubeClient, source: DeploymentSource, namespace: str, command: str, *, dry_run: bool, force: bool
) -> Done:
    before = kube.find(_KIND, source.name, namespace)
    wanted = source.merged_with(before)
    refuse_no_text(wanted)
    _refuse_too_large(wanted)
    wanted["metadata"]["namespace"] = namespace
    if before is not None:
        wanted["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        _keep_restart(wanted, before)
    tried = kube.put(wanted, dry_run=True, force=force)
    changes = _differences(before, tried)
    if before is not None:
        _refuse_left(wanted, tried)
        if changes:
            _refuse_stale(source, before)
    if dry_run or not (changes or before is None):
        return Done(before is None, changes, tried)
    change = new_change(kube, command, tried["metadata"]["generation"])
    wanted["metadata"].setdefault("annotations", {})[APPLIED] = change.annotation
    after = kube.put(wanted, force=force)
    if before is None and after["metadata"]["generation"] != 1:
        raise Conflict(
            f"another command made {source.name} at the same moment, and both were applied to it",
            next_step=f"see `fleet deployment show {source.name}`, and repeat this if it is not as you want it",
        )
    return Done(before is None, changes, after, change)


def _refuse_too_large(wanted: Json) -> None:
    """What no device could be sent; the Secrets in it are counted by the operator, which alone reads them.

    Raises:
        InvalidInput: it is that large.
    """
    try:
        spec = from_builtins(wanted["spec"], DeploymentSpec)
    except InvalidInput:
        return  # the server says what is wrong with it
    size = len(encode(Desired(LARGEST, as_sent(spec.workload))))
    if size > MAX_DESIRED:
        what = f"the workload takes {size} bytes, more than the {MAX_DESIRED} that a device can be sent"
        raise InvalidInput(
            f"{wanted['metadata']['name']}: {what}",
            next_step="make its files, arguments and environments smaller, or put large files into an image",
        )


def _keep_restart(wanted: Json, before: Json) -> None:
    """Keep the label of the last restart: a file without it asks for no restart, and not for the containers before."""
    was = _parts(before["spec"]["workload"])
    for name, part in _parts(wanted["spec"]["workload"]).items():
        given: dict[str, str] = part.get("labels") or {}
        labels = {key: text for key, text in given.items() if key != RESTARTED}
        before_it: dict[str, str] = was.get(name, {}).get("labels") or {}
        moment = before_it.get(RESTARTED)
        part["labels"] = {**labels, **({RESTARTED: moment} if moment else {})}


def _parts(workload: Json) -> dict[str, Json]:
    """The containers of a workload, by name; a single container has the name ''."""
    if workload.get("type") != "pod":
        return {"": workload}
    every: list[Json] = [*workload["containers"], *(workload.get("initContainers") or [])]
    return {item["name"]: item for item in every}


def without_defaults(spec: DeploymentSpec) -> list[str]:
    """One line for each field of a spec that was given."""
    nothing: Json = {"kind": _KIND, "metadata": {"name": "-"}}
    given: Json = {**nothing, "spec": _plain(msgspec.to_builtins(spec, enc_hook=str))}
    lines = _differences_of(nothing, given)
    return [line.replace(": (none) → ", ": ", 1) for line in lines]


def _refuse_stale(source: DeploymentSource, before: Json) -> None:
    """Refuse a file that was made from the output of `show` if the object has changed since."""
    meta = before["metadata"]
    if source.generation and source.uid == meta["uid"] and source.generation != meta["generation"]:
        raise Conflict(
            f"{source.name} has changed since this file was written: it is at generation {meta['generation']}, "
            f"and metadata.generation of the file is {source.generation}",
            next_step=f"see `fleet deployment show {source.name} -o json` and bring your change into it, or take "
            "metadata.generation out of the file to write over it",
        )


def _refuse_left(wanted: Json, tried: Json) -> None:
    """Refuse if server-side apply would keep a field that another manager has set: the result would not be the file."""
    left = _differences({**tried, "spec": wanted["spec"]}, tried)
    if left:
        fields = tried["metadata"].get("managedFields", [])
        others = sorted({field["manager"] for field in fields if field.get("subresource") != "status"} - {"fleet"})
        raise Conflict(
            f"{wanted['metadata']['name']}: {left[0].partition(': ')[0]} would stay as it is, for another has set it",
            next_step=f"take it away with what set it (one of: {', '.join(others)}), then repeat",
            more=left[1:],
        )


def _differences(before: Json | None, after: Json) -> list[str]:
    nothing: Json = {"kind": _KIND, "metadata": {"name": after["metadata"]["name"]}}
    return _differences_of(_without_ours(before) if before else nothing, _without_ours(after))


def _differences_of(before: Json, after: Json) -> list[str]:
    from fleet.topology.kubernetes.compare import differences  # noqa: PLC0415

    return differences(before, after)


def _without_ours(item: Json) -> Json:
    """The fields that a person has set: without defaults, which may be written or not."""
    stands = as_json(typed(item, FleetDeployment))
    meta: Json = dict(item["metadata"])
    annotations: dict[str, str] = meta.get("annotations") or {}
    meta["annotations"] = {key: text for key, text in annotations.items() if key not in OURS}
    kept = {key: meta[key] for key in ("labels", "annotations") if meta.get(key)}
    return {"kind": _KIND, "metadata": {"name": meta["name"], **kept}, "spec": _plain(stands["spec"])}


def _plain(value: object) -> object:
    """As JSON has it, without empty objects and lists, which mean the same as none."""
    if isinstance(value, dict):
        pairs = cast("Json", value).items()
        return {name: plain for name, member in pairs if (plain := _plain(member)) not in ({}, [])}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[object]", value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value
