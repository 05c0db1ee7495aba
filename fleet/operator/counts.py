"""Counts of the store, computed on request: the cost of a pass must not grow with the fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fleet.contract.certificates import ends_of
from fleet.contract.config import SecretAge
from fleet.contract.wire import IdentityState
from fleet.operator.reconcile.trust import BUNDLE_OUTDATED
from fleet.operator.store import Store


class Counts(Collector):
    """Devices and deployments, for Prometheus."""

    def __init__(self, store: Store, trust_bundle: str = "", secrets: Sequence[SecretAge] = ()) -> None:
        """Count this store; `trust_bundle` are the certificates (PEM) that devices are to trust."""
        self._store = store
        self._secrets = secrets
        self._ends = ends_of(trust_bundle) if trust_bundle else {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As they are now."""
        snapshot = self._store.snapshot()
        devices, deployments = snapshot.devices, snapshot.deployments
        online = sum(snapshot.online(name) for name in devices)
        yield GaugeMetricFamily("fleet_operator_devices", "Devices known", len(devices))
        yield GaugeMetricFamily("fleet_operator_devices_online", "Devices online", online)
        kept = sum(identity.state is IdentityState.QUARANTINED for identity in snapshot.identities.values())
        yield GaugeMetricFamily("fleet_operator_devices_quarantined", "Devices kept out for what they wrote", kept)
        yield GaugeMetricFamily("fleet_operator_deployments", "Deployments known", len(deployments))
        upgrades = GaugeMetricFamily(
            "fleet_operator_upgrades", "Devices by how their agent order stands", labels=["reason"]
        )
        outdated = GaugeMetricFamily(
            "fleet_operator_devices_bundle_outdated", "Devices that trust others than they are to", labels=["reason"]
        )
        conditions = [condition for device in devices.values() for condition in device.status.conditions]
        for kind, family in (("Upgraded", upgrades), (BUNDLE_OUTDATED, outdated)):
            for reason, count in Counter(
                condition.reason for condition in conditions if condition.type == kind
            ).items():
                family.add_metric([reason], count)
        yield upgrades
        yield outdated
        ends = GaugeMetricFamily(
            "fleet_operator_authority_end_timestamp_seconds",
            "When a certificate ends that devices are to trust",
            labels=["certificate"],
        )
        for certificate, end in self._ends.items():
            ends.add_metric([certificate], end)
        yield ends
        yield from self._ages()

    def _ages(self) -> Iterator[GaugeMetricFamily]:
        created = GaugeMetricFamily(
            "fleet_operator_secret_made_timestamp_seconds",
            "When the version of a server's secret was made that is in use",
            labels=["secret"],
        )
        ends = GaugeMetricFamily(
            "fleet_operator_certificate_end_timestamp_seconds",
            "When the certificate for a server's key ends",
            labels=["secret"],
        )
        for secret in self._secrets:
            for family, moment in ((created, secret.made), (ends, secret.ends)):
                if moment:
                    family.add_metric([secret.name], moment)
        yield created
        yield ends
