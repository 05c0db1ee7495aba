"""What `fleet server uninstall` takes away before the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.cli.output import progress
from fleet.contract.errors import NotFound, NotPermitted, TimedOut
from fleet.contract.objects import SERVER_CONFIG_MAP

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json
    from fleet.topology.kube import KubeClient

_KINDS = ("FleetDeployment", "Device")
REMOVAL = 30.0
"""Seconds for the operator to clean up after deleted devices and deployments."""


def is_alone(kube: KubeClient, namespace: str) -> bool:
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


def delete_objects(kube: KubeClient, namespace: str) -> None:
    """Delete every deployment and device, and wait until the operator has cleaned up after them."""
    from fleet.topology.kube import wait_for  # noqa: PLC0415

    for kind in _KINDS:
        progress(f"deleting every {kind}")
        kube.delete(_all(kube, kind, namespace))
        try:
            wait_for(
                lambda kind=kind: None if _all(kube, kind, namespace) else True, f"every {kind} to be gone", REMOVAL
            )
        except TimedOut as error:
            left = [item["metadata"]["name"] for item in _all(kube, kind, namespace)]
            raise TimedOut(
                f"{error.what}; left: {', '.join(left)}",
                next_step="the operator cleans up: see `fleet server status`, then repeat",
            ) from error
