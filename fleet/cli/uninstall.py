"""`fleet server uninstall`: also what is left when parts of the server, or all of it, are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.context import NamespaceOption, announcement, cluster, place
from fleet.cli.output import Output, OutputOption, answer, progress
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import Conflict, NotFound, NotPermitted, TimedOut
from fleet.contract.objects import FINALIZER, SERVER_CONFIG_MAP

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json, ServerPlace

_KINDS = ("FleetDeployment", "Device")
_REMOVAL = 30.0
"""Seconds for the operator to clean up after deleted devices and deployments."""


def uninstall(
    delete_data: Annotated[
        bool, typer.Option(help="also delete devices, deployments, keys, secrets and NATS' data")
    ] = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove the server. Data and secrets stay, so that a later install goes on where this one stopped.

    With --delete-data it also finishes what is left of a server that is gone: devices and deployments that nobody
    cleans up after, and a namespace whose deletion waits for them.

    \b
    Example:
      fleet server uninstall --delete-data
    """  # noqa: D301
    from fleet.cli.trust import forget, server_key  # noqa: PLC0415
    from fleet.install.server import uninstall as remove  # noqa: PLC0415
    from fleet.topology.capabilities import PlaceRequest  # noqa: PLC0415

    kube = cluster()
    if not delete_data or not _is_left(kube, namespace):
        announcement(kube, namespace)
    _leave_to_others(kube, namespace)
    target = place(PlaceRequest(namespace=namespace, timeout=_REMOVAL, progress=progress))
    if delete_data:
        _delete_objects(kube, namespace, target)
    done = remove(
        target,
        namespace,
        delete_data=delete_data,
        delete_definitions=delete_data and _is_alone(kube, namespace),
    )
    if delete_data:
        forget(server_key(kube.host, namespace))
    removed = [item.name for item in done if item.changed]
    kept = "" if delete_data else "; devices, deployments, secrets and NATS' data stay"
    answer(output, {"namespace": namespace, "removed": removed}, f"removed {len(removed)} parts of {namespace}{kept}")


def _leave_to_others(kube: KubeClient, namespace: str) -> None:
    from fleet.install.rbac import OPERATOR  # noqa: PLC0415
    from fleet.topology.kubernetes.labels import other_manager  # noqa: PLC0415

    account = kube.find("ServiceAccount", OPERATOR, namespace)
    if account and (manager := other_manager(account)):
        raise Conflict(
            f"the server in {namespace} is managed by {manager}",
            next_step="uninstall it there: `helm uninstall`, or delete the Application; data and secrets stay",
        )


def _is_alone(kube: KubeClient, namespace: str) -> bool:
    """Whether nobody else in the cluster uses our definitions, as far as we may see."""
    try:
        announced = kube.request("GET", f"api/v1/configmaps?fieldSelector=metadata.name={SERVER_CONFIG_MAP}")["items"]
        others = [item for item in announced if item["metadata"]["namespace"] != namespace]
        return not others and not any(_all(kube, kind, "") for kind in _KINDS)
    except NotPermitted:
        return False


def _all(kube: KubeClient, kind: str, namespace: str) -> list[Json]:
    try:
        return kube.list(kind, namespace)
    except NotFound:  # an uninstall that broke off has removed the definition already
        return []


def _is_left(kube: KubeClient, namespace: str) -> bool:
    """Whether a server that is not announced any more has left something."""
    from fleet.secrets.mark import NAME  # noqa: PLC0415

    kept = kube.find("Secret", NAME, namespace) is not None
    return kept or any(_all(kube, kind, namespace) for kind in _KINDS)


def _delete_objects(kube: KubeClient, namespace: str, target: ServerPlace) -> None:
    from fleet.kube.client import wait_for  # noqa: PLC0415

    cleaned_up = any(part.name == "operator" and part.ready for part in target.services())
    for kind in _KINDS:
        progress(f"deleting every {kind}")
        kube.delete(_all(kube, kind, namespace))
        gone = f"every {kind} to be gone"
        try:
            wait_for(
                lambda kind=kind: None if _all(kube, kind, namespace) else True, gone, _REMOVAL if cleaned_up else 0.1
            )
        except TimedOut:
            cleaned_up = False
            _release(kube, kind, namespace)


def _release(kube: KubeClient, kind: str, namespace: str) -> None:
    """Take our finalizer from what nobody cleans up after: its sessions and keys end with NATS and its data."""
    left = _all(kube, kind, namespace)
    progress(
        f"no operator cleans up after {len(left)} of kind {kind}: they are let go, and their keys go with NATS' data"
    )
    for item in left:
        name, others = item["metadata"]["name"], item["metadata"].get("finalizers", [])
        change = {"metadata": {"finalizers": [other for other in others if other != FINALIZER]}}
        try:
            kube.patch(kind, name, namespace, change)
        except NotFound:  # the operator was quicker
            continue
