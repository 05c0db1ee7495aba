"""What the callout counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5)


class Metrics:
    """One set of counters, in a registry of its own so that two services can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.decisions = Counter(
            "fleet_callout_decisions", "Decisions on logins, by reason", ["reason"], registry=self.registry
        )
        self.seconds = Histogram(
            "fleet_callout_decision_seconds", "Time to a decision", buckets=_BUCKETS, registry=self.registry
        )
        self.in_flight = Gauge("fleet_callout_in_flight", "Requests being decided", registry=self.registry)
        self.identities = Gauge("fleet_callout_identities", "Identities in the registry", registry=self.registry)
        self.bad_entries = Counter(
            "fleet_callout_bad_entries", "Registry entries that do not parse", registry=self.registry
        )
        self.key_fetches = Counter(
            "fleet_callout_key_fetches", "Fetches of the issuer's keys, by outcome", ["outcome"], registry=self.registry
        )
