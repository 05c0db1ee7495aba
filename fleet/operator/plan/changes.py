"""What has changed since the last decision."""

from __future__ import annotations

from fleet.contract.names import AgentVersion


class Changes:
    """Names of what changed. Too many cost time; a missing one leaves a wrong status for a while."""

    def __init__(self) -> None:
        self.devices: dict[str, None] = {}
        """Ordered, the first first."""
        self.orders: dict[str, None] = {}
        """Devices of which only the desired state changed: nearly always by our own write."""
        self.deployments: set[str] = set()
        self.subjects: set[str] = set()
        """Token subjects whose entry in the registry changed."""
        self.versions: set[AgentVersion] = set()
        """Agents that were published, or are not any more."""

    def device(self, name: str) -> None:
        """Something that is known of a device changed."""
        self.devices[name] = None

    def order(self, device: str) -> None:
        """The desired state of a device changed."""
        self.orders[device] = None

    def deployment(self, name: str) -> None:
        """A deployment changed."""
        self.deployments.add(name)

    def clear(self) -> None:
        """All of it was taken in."""
        self.devices.clear()
        self.orders.clear()
        self.deployments.clear()
        self.subjects.clear()
        self.versions.clear()

    def __bool__(self) -> bool:
        return bool(self.devices or self.orders or self.deployments or self.subjects or self.versions)
