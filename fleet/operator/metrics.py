"""What the operator counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fleet.contract.sealed import OPENBAO_SECRET

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """One set of counters, in a registry of its own so that two operators can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.passes = Histogram(
            "fleet_operator_pass_seconds", "Reconciles, with their actions", buckets=_BUCKETS, registry=self.registry
        )
        self.planning = Histogram(
            "fleet_operator_plan_seconds", "Reconciles, the decision alone", buckets=_BUCKETS, registry=self.registry
        )
        self.actions = Counter(
            "fleet_operator_actions", "Actions by kind and outcome", ["kind", "outcome"], registry=self.registry
        )
        self.writes_waiting = Gauge(
            "fleet_operator_writes_waiting", "Objects that are to be written to Kubernetes", registry=self.registry
        )
        self.unwritable = Gauge(
            "fleet_operator_objects_unwritable", "Objects that cannot be written", registry=self.registry
        )
        self.skipped = Counter(
            "fleet_operator_skipped_keys",
            "Foreign or unreadable keys and values seen",
            ["place"],
            registry=self.registry,
        )
        self.skipped_now = Gauge(
            "fleet_operator_skipped_keys_present",
            "Foreign or unreadable keys and values",
            ["place"],
            registry=self.registry,
        )
        self.heartbeats = Counter("fleet_operator_heartbeats", "Heartbeats heard", registry=self.registry)
        self.quarantines = Counter("fleet_operator_quarantines", "Devices shut out, by time", registry=self.registry)
        self.kicked = Counter("fleet_operator_sessions_kicked", "Sessions ended", registry=self.registry)
        self._token_end = Gauge(
            "fleet_operator_openbao_token_end_timestamp_seconds",
            "When the token ends that somebody gave the operator for OpenBao",
            ["secret"],
            registry=self.registry,
        )

    def token_ends(self, moment: float | None) -> None:
        """The operator's token of OpenBao ends, in Unix seconds; None where it has none, or it has no end."""
        if moment is None:
            self._token_end.clear()
        else:
            self._token_end.labels(OPENBAO_SECRET).set(moment)
