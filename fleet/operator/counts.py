"""What the store holds, counted when somebody asks: a pass must not cost more because the fleet is larger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fleet.operator.store import Store


class Counts(Collector):
    """Devices and deployments, for Prometheus."""

    def __init__(self, store: Store) -> None:
        """Count this store."""
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As they are now."""
        snapshot = self._store.snapshot()
        devices, deployments = snapshot.devices, snapshot.deployments
        online = sum(snapshot.online(name) for name in devices)
        yield GaugeMetricFamily("fleet_operator_devices", "Devices known", len(devices))
        yield GaugeMetricFamily("fleet_operator_devices_online", "Devices online", online)
        yield GaugeMetricFamily("fleet_operator_deployments", "Deployments known", len(deployments))
        upgrades = GaugeMetricFamily(
            "fleet_operator_upgrades", "Devices by how their agent order stands", labels=["reason"]
        )
        conditions = (one for device in devices.values() for one in device.status.conditions)
        for reason, count in Counter(one.reason for one in conditions if one.type == "Upgraded").items():
            upgrades.add_metric([reason], count)
        yield upgrades
