"""The server of a namespace as commands find it that need its secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.cli.context import place
from fleet.cli.output import progress

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.rotation.ground import Installed
    from fleet.topology.capabilities import ServerPlace


def installed_in(kube: KubeClient, namespace: str, timeout: float) -> Installed:
    """The server in a namespace, at its place, which has `timeout` seconds to become ready.

    Raises:
        NotInstalled: there is none, or one of a release that could not rotate.
        NotFound: its secrets are gone.
    """
    from fleet.rotation.ground import Installed  # noqa: PLC0415
    from fleet.topology.capabilities import PlaceRequest  # noqa: PLC0415

    def make(options: str) -> ServerPlace:
        return place(PlaceRequest(namespace=namespace, timeout=timeout, progress=progress, remembered=options))

    found = Installed.find(kube, namespace, make)
    found.require_secrets()
    return found
