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

    nats-server knows one `password` by which it lets a replica in. It comes in elsewhere by each that is `sent`, so
    replicas which let in by the old one and by the new one find each other: one of two directions is enough.

    nats-server demands certificates of both sides of a route, so the one here names the replicas, for both uses.
    """

    host: str
    port: int
    routes: tuple[str, ...]
    password: str
    sent: tuple[str, ...]
    tls_cert_file: str
    tls_key_file: str
    tls_ca_file: str

    def __repr__(self) -> str:
        return f"NatsCluster({', '.join(self.routes)})"


def route_tags(cluster: NatsCluster) -> list[str]:
    """The tags with which a server reports which passwords between servers it has."""
    sent = sorted(digest_of(one.encode()) for one in cluster.sent)
    return [f"{ROUTE_TAG}{digest_of(cluster.password.encode())}", *(f"{ROUTES_SENT_TAG}{one}" for one in sent)]


def cluster_config(cluster: NatsCluster) -> Json:
    """The section `cluster` of the configuration; it holds the passwords, so it is a secret."""
    return {
        "name": _CLUSTER,
        "listen": f"{cluster.host}:{cluster.port}",
        "routes": [f"nats-route://{_CLUSTER}:{one}@{route}" for route in cluster.routes for one in cluster.sent],
        "authorization": {"user": _CLUSTER, "password": cluster.password, "timeout": AUTH_TIMEOUT},
        "tls": {
            "cert_file": cluster.tls_cert_file,
            "key_file": cluster.tls_key_file,
            "ca_file": cluster.tls_ca_file,
            "timeout": AUTH_TIMEOUT,
        },
        # Clients would be told the replicas' own addresses, which nobody outside can reach.
        "no_advertise": True,
    }
