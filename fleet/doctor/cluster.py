"""The server's objects in Kubernetes: release, definitions, rights, devices and deployments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleet.contract.errors import FleetError, NotFound, NotInstalled, Unreachable
from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP, Condition, Device, FleetDeployment, ServerInfo
from fleet.contract.objects import VERSION as API
from fleet.doctor.findings import Worrying
from fleet.version import VERSION

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import ServiceStatus

_NAMED = 5


def check_release(server: ServerInfo) -> str:
    """Check that this command is of the server's release.

    Raises:
        Worrying: it is not.
    """
    if server.version != VERSION:
        raise Worrying(
            f"the server is of release {server.version}, and this command of {VERSION}",
            next_step="use the command of that release, or `fleet server install` to bring the server to ours",
        )
    return f"server and command are of release {VERSION}"


def check_definitions(kube: KubeClient) -> str:
    """Check that the definitions exist and serve our version.

    Raises:
        NotInstalled: one is missing.
        FleetError: one does not serve our version.
    """
    for plural in (DEVICES, DEPLOYMENTS):
        item = kube.find("CustomResourceDefinition", f"{plural}.{GROUP}")
        if item is None:
            raise NotInstalled(f"the definition {plural}.{GROUP} is missing", next_step="run `fleet server install`")
        served = [version["name"] for version in item["spec"]["versions"] if version["served"]]
        if API not in served:
            raise FleetError(
                f"the definition {plural}.{GROUP} serves {', '.join(served) or 'nothing'}, and we need {API}",
                next_step="run `fleet server install` of this release",
            )
    return f"the definitions serve {API}"


def check_parts(parts: Sequence[ServiceStatus]) -> str:
    """Check that every component of the server reports that it is ready.

    Raises:
        Unreachable: one is not; the message has its reason.
    """
    waiting = [f"{part.name}: {part.why or 'not ready'}" for part in parts if not part.ready]
    if waiting or not parts:
        raise Unreachable(
            "; ".join(waiting) or "no part of the server is there",
            next_step="read the log of that part; it says what it waits for",
        )
    return f"ready: {', '.join(part.name for part in parts)}"


def check_devices(devices: Sequence[Device]) -> str:
    """Check that every device that may log in is online, and that none floods or runs twice.

    Raises:
        Worrying: some are not; the message names them.
    """
    expected = [device for device in devices if not device.spec.revoked]
    troubled = [
        f"{device.metadata.name} {reason}"
        for device in expected
        if (reason := _device_trouble(device.status.conditions))
    ]
    if troubled:
        raise Worrying(
            f"{len(troubled)} of {len(expected)} devices: {_shown(troubled)}",
            next_step="see `fleet device show`, and `fleet device logs` of one that is online",
        )
    return f"{len(expected)} devices, all online"


def _device_trouble(conditions: Sequence[Condition]) -> str:
    for condition in conditions:
        bad = condition.status != "True" if condition.type in {"Online", "Enrolled"} else condition.status == "True"
        if bad and condition.type in {"Online", "Enrolled", "Quarantined", "DuplicateIdentity", "ClockDiffers"}:
            return condition.reason
    return "" if conditions else "NotYetSeen"


def check_deployments(deployments: Sequence[FleetDeployment]) -> str:
    """Check that every deployment runs on its devices.

    Raises:
        Worrying: some do not; the message names them.
    """
    troubled = [
        f"{deployment.metadata.name} {reason}"
        for deployment in deployments
        if (reason := _deployment_trouble(deployment)) is not None
    ]
    if troubled:
        raise Worrying(
            f"{len(troubled)} of {len(deployments)} deployments: {_shown(troubled)}",
            next_step="see `fleet deployment show`, which names the devices",
        )
    return f"{len(deployments)} deployments, all ready"


def _deployment_trouble(item: FleetDeployment) -> str | None:
    ready = next((condition for condition in item.status.conditions if condition.type == "Ready"), None)
    if ready is None:
        return "NotYetSeen"
    return None if ready.status == "True" else ready.reason


def _shown(troubled: Sequence[str]) -> str:
    more = len(troubled) - _NAMED
    return ", ".join(troubled[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def check_rights(kube: KubeClient, namespace: str) -> str:
    """Check that the user may read what the command line shows.

    Raises:
        FleetError: the user may not; the message says what is refused.
    """
    for kind in ("Device", "FleetDeployment"):
        try:
            kube.list(kind, namespace)
        except NotFound as error:
            raise NotInstalled(error.what, next_step="run `fleet server install`") from error
    return f"you may look at devices and deployments in {namespace}"
