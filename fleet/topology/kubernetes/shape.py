"""What an install on Kubernetes may choose, and where the parts find each other there."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

import msgspec

from fleet.topology.capabilities import Endpoint, Endpoints, IdentityEndpoints

_NATS, _ROUTES, _MONITOR, _HEALTH, _ZITADEL, _POSTGRES = 4222, 6222, 8222, 8080, 8443, 5432
WEB_PORT = 8444


class Exposure(Enum):
    """How devices reach NATS from outside. Ingress and Route hand TLS through, by the name the client asks for."""

    NODE_PORT = "node-port"
    LOAD_BALANCER = "load-balancer"
    INGRESS = "ingress"
    ROUTE = "route"


class WebExposure(Enum):
    """How browsers reach the web page from outside. Ingress and Route hand TLS through, as with NATS."""

    PORT_FORWARD = "port-forward"
    INGRESS = "ingress"
    ROUTE = "route"


def described(text: str, *, ge: int | None = None, le: int | None = None) -> msgspec.Meta:
    """What a field is for; `values.yaml` of the chart has the same words."""
    return msgspec.Meta(description=text, ge=ge, le=le)


PullPolicy = Literal["IfNotPresent", "Always", "Never"]
Replicas = Literal[1, 3]

NatsImage = Annotated[str, described("An image that starts nats-server 2.10 or newer, and holds wget.")]
NatsExposure = Annotated[Exposure, described("What leads from there to NATS.")]
NatsReplicas = Annotated[Replicas, described("Servers of NATS; 3 survive the loss of a node.")]
CalloutReplicas = Annotated[int, described("How many run.", ge=1, le=9)]
ImagePull = Annotated[PullPolicy, described("When nodes pull the images.")]
PullSecret = Annotated[
    str, described("A Secret of type kubernetes.io/dockerconfigjson in the namespace; empty for none.")
]
IngressClass = Annotated[str, described("Who serves the Ingress; empty for the cluster's default.")]
StorageSize = Annotated[str, described("The size of its volume.")]
StorageClass = Annotated[str, described("The volume's storage class; empty for the cluster's default.")]
PodUser = Annotated[
    Annotated[int, msgspec.Meta(ge=1)] | None,
    described("The user of every pod; null where the cluster assigns one, as OpenShift does."),
]
WebEnabled = Annotated[bool, described("Whether there is one.")]
WebHost = Annotated[
    str, described("The name by which browsers reach it, on port 443; empty where they do by `fleet web`.")
]
WebWay = Annotated[WebExposure, described("What leads from there to it.")]
WebIngressClass = Annotated[str, described("Who serves its Ingress; empty for the cluster's default.")]


class Storage(msgspec.Struct, frozen=True):
    """Where each server of NATS keeps its streams."""

    size: StorageSize = "1Gi"
    storage_class: StorageClass = ""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One install.

    Attributes:
        image: The product's image: operator and callout.
        zitadel_image: For a bundled identity provider.
        postgres_image: For its database.
        nats_address: What devices connect to.
        web, web_host, web_exposure, web_ingress_class: The read-only web page.
    """

    image: str
    nats_image: NatsImage
    zitadel_image: str = ""
    postgres_image: str = ""
    nats_address: Endpoint
    exposure: NatsExposure = Exposure.NODE_PORT
    nats_replicas: NatsReplicas = 1
    callout_replicas: CalloutReplicas = 2
    storage: Storage = Storage()
    pull_secret: PullSecret = ""
    pull_policy: ImagePull = "IfNotPresent"
    ingress_class: IngressClass = ""
    user: PodUser = None
    web: WebEnabled = False
    web_host: WebHost = ""
    web_exposure: WebWay = WebExposure.PORT_FORWARD
    web_ingress_class: WebIngressClass = ""


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
        operator_web=WEB_PORT if shape.web else 0,
        web_url=f"https://{shape.web_host}" if shape.web and shape.web_host else "",
    )
