"""How NATS servers find and accept each other."""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.versions import ROUTE_TAG, ROUTES_SENT_TAG, digest_of

Json = dict[str, Any]

AUTH_TIMEOUT = 3
"""Seconds a client has to log in, and the server waits for the callout.

Its own default of 2 fails in storms; but who asks while no callout is there waits that long in vain.
"""
_CLUSTER = "fleet"


class NatsCluster(msgspec.Struct, frozen=True):
    """Replicas that find each other. `routes` are the `host:port` of all; passwords are secrets.

    A replica comes in elsewhere by the password that is `sent`, and lets others in by each that is `accepted`.
    nats-server can require one password only. While there are two, it requires none, and replicas let each other in by
    their certificates alone: see docs/decisions/066.

    nats-server demands certificates of both sides of a route, so the one here names the replicas, for both uses.
    """

    host: str
    port: int
    routes: tuple[str, ...]
    sent: str
    accepted: frozenset[str]
    tls_cert_file: str
    tls_key_file: str
    tls_ca_file: str

    def __repr__(self) -> str:
        return f"NatsCluster({', '.join(self.routes)})"


def route_tags(cluster: NatsCluster) -> list[str]:
    """The tags with which a server reports which passwords between servers it has."""
    accepted = sorted(digest_of(certificate.encode()) for certificate in cluster.accepted)
    return [*(f"{ROUTE_TAG}{digest}" for digest in accepted), f"{ROUTES_SENT_TAG}{digest_of(cluster.sent.encode())}"]


def cluster_config(cluster: NatsCluster) -> Json:
    """The section `cluster` of the configuration; it holds the passwords, so it is a secret."""
    config: Json = {
        "name": _CLUSTER,
        "listen": f"{cluster.host}:{cluster.port}",
        "routes": [f"nats-route://{_CLUSTER}:{cluster.sent}@{route}" for route in cluster.routes],
        "tls": {
            "cert_file": cluster.tls_cert_file,
            "key_file": cluster.tls_key_file,
            "ca_file": cluster.tls_ca_file,
            "timeout": AUTH_TIMEOUT,
        },
        # Clients would be told the replicas' own addresses, which nobody outside can reach.
        "no_advertise": True,
    }
    if len(cluster.accepted) == 1:
        (required,) = cluster.accepted
        config["authorization"] = {"user": _CLUSTER, "password": required, "timeout": AUTH_TIMEOUT}
    return config
