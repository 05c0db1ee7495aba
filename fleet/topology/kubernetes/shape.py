"""What an install on Kubernetes may choose, and where the parts find each other there."""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec

from fleet.topology.capabilities import Endpoint, Endpoints, IdentityEndpoints

_NATS, _ROUTES, _MONITOR, _HEALTH, _ZITADEL, _POSTGRES = 4222, 6222, 8222, 8080, 8443, 5432


class Exposure(Enum):
    """How devices reach NATS from outside. Ingress and Route hand TLS through, by the name the client asks for."""

    NODE_PORT = "node-port"
    LOAD_BALANCER = "load-balancer"
    INGRESS = "ingress"
    ROUTE = "route"


class Storage(msgspec.Struct, frozen=True):
    """The volume claim of each server of NATS. An empty class is the cluster's default one."""

    size: str = "1Gi"
    storage_class: str = ""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One install.

    Attributes:
        image: The product's image: operator and callout.
        nats_image: An image whose entry point is nats-server, 2.10 or newer.
        zitadel_image: For a bundled identity provider.
        postgres_image: For its database.
        nats_address: What devices connect to.
        exposure: How that address leads to NATS.
        nats_replicas: Servers of NATS; three survive the loss of a node.
        callout_replicas: Callouts.
        storage: Where NATS keeps its streams.
        pull_secret: A Secret of type kubernetes.io/dockerconfigjson in the namespace; empty for none.
        pull_policy: When nodes pull the images.
        ingress_class: Who serves the Ingress; empty for the cluster's default.
        user: The user and the volumes' group of every pod; None where the place assigns them, as OpenShift does.
    """

    image: str
    nats_image: str
    zitadel_image: str = ""
    postgres_image: str = ""
    nats_address: Endpoint
    exposure: Exposure = Exposure.NODE_PORT
    nats_replicas: Literal[1, 3] = 1
    callout_replicas: int = 2
    storage: Storage = Storage()
    pull_secret: str = ""
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    ingress_class: str = ""
    user: int | None = None


def endpoints(namespace: str, shape: Shape) -> Endpoints:
    """Where the parts listen and find each other, by the names that Kubernetes gives Services and pods (DNS)."""
    peers = tuple(
        Endpoint(f"fleet-nats-{number}.fleet-nats-peers.{namespace}.svc", _ROUTES)
        for number in range(shape.nats_replicas)
    )
    return Endpoints(
        listen_host="0.0.0.0",  # noqa: S104 - in a pod, whose network policy says who may come
        nats=Endpoint(f"fleet-nats.{namespace}.svc", _NATS),
        nats_public=shape.nats_address,
        nats_monitor=_MONITOR,
        callout_health=_HEALTH,
        operator_health=_HEALTH,
        nats_tls_first=shape.exposure in {Exposure.INGRESS, Exposure.ROUTE},
        nats_peers=peers if len(peers) > 1 else (),
        callout_replicas=shape.callout_replicas,
        identity=IdentityEndpoints(
            zitadel=Endpoint(f"fleet-zitadel.{namespace}.svc", _ZITADEL),
            postgres=Endpoint(f"fleet-postgres.{namespace}.svc", _POSTGRES),
        ),
    )
