"""From what an admin says of a cluster, and what the cluster is, to the shape of an install. Pure."""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.topology.capabilities import Endpoint, PlaceOptions
from fleet.topology.kubernetes.shape import Exposure, Shape, Storage
from fleet.version import VERSION

IMAGE = f"fleet:{VERSION}"
NATS_IMAGE = "nats:2.15"
_ZITADEL_IMAGE, _POSTGRES_IMAGE = "zitadel/zitadel:v4.10.1", "postgres:17"
USER = 65532
"""Of the product's image; any other does as well."""
PORTS = {Exposure.NODE_PORT: 30422, Exposure.LOAD_BALANCER: 4222, Exposure.INGRESS: 443, Exposure.ROUTE: 443}
"""What devices connect to, where no other port is given."""
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")

_PullPolicy = Literal["IfNotPresent", "Always", "Never"]


class Cluster(msgspec.Struct, frozen=True):
    """What we need to know of a cluster: the API groups that it serves."""

    groups: frozenset[str]

    @property
    def has_routes(self) -> bool:
        """Whether it is OpenShift's router that leads in from outside."""
        return "route.openshift.io" in self.groups

    @property
    def assigns_users(self) -> bool:
        """Whether it gives each namespace users of its own, and refuses others."""
        return "security.openshift.io" in self.groups


def shape_of(options: PlaceOptions, cluster: Cluster) -> Shape:
    """The shape of an install.

    Raises:
        InvalidInput: an option is of no use, alone or on this cluster.
    """
    exposure = _exposure(options.exposure, cluster)
    return Shape(
        image=options.image or IMAGE,
        nats_image=options.nats_image or NATS_IMAGE,
        zitadel_image=options.zitadel_image or _ZITADEL_IMAGE,
        postgres_image=options.postgres_image or _POSTGRES_IMAGE,
        nats_address=_address(options.nats_address, PORTS[exposure]),
        exposure=exposure,
        nats_replicas=_replicas(options.nats_replicas),
        storage=Storage(_size(options.storage_size or "1Gi"), options.storage_class),
        pull_secret=options.pull_secret,
        pull_policy=_pull_policy(options.pull_policy or "IfNotPresent"),
        ingress_class=options.ingress_class,
        user=options.user if options.user is not None else (None if cluster.assigns_users else USER),
    )


def _exposure(word: str, cluster: Cluster) -> Exposure:
    if not word:
        return Exposure.ROUTE if cluster.has_routes else Exposure.NODE_PORT
    try:
        exposure = Exposure(word)
    except ValueError:
        known = ", ".join(item.value for item in Exposure)
        raise InvalidInput(f"--exposure {word} is not known", next_step=f"use one of: {known}") from None
    if exposure is Exposure.ROUTE and not cluster.has_routes:
        raise InvalidInput(
            "--exposure route: this cluster has no Routes, which are OpenShift's",
            next_step="use node-port, load-balancer or ingress",
        )
    return exposure


def _address(word: str, default_port: int) -> Endpoint:
    host, separator, port = word.partition(":")
    number = int(port) if port.isdecimal() and port.isascii() else 0
    good = _HOST.fullmatch(host) is not None and (not separator or 0 < number < 65536)
    if not good:
        said = f"--nats-address {word!r} is not HOST or HOST:PORT" if word else "--nats-address is missing"
        raise InvalidInput(
            said,
            next_step="give the name or IPv4 address by which devices reach NATS, for example --nats-address "
            "nats.example.org; it is written into every device's configuration",
        )
    return Endpoint(host, number or default_port)


def _replicas(number: int) -> Literal[1, 3]:
    if number == 1:
        return 1
    if number == 3:
        return 3
    raise InvalidInput(
        f"--nats-replicas {number}: NATS runs as one server or as three",
        next_step="use 3 where the loss of a node must not be felt",
    )


def _size(word: str) -> str:
    """In Kubernetes' own canonical form, so that an equal size is an equal word."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})(Mi|Gi|Ti)", word)
    if found is None:
        raise InvalidInput(f"--storage-size {word} is not a size", next_step="for example --storage-size 5Gi")
    amount, units = int(found[1]), ["Mi", "Gi", "Ti"]
    unit = units.index(found[2])
    while amount % 1024 == 0 and unit < len(units) - 1:
        amount, unit = amount // 1024, unit + 1
    return f"{amount}{units[unit]}"


def _pull_policy(word: str) -> _PullPolicy:
    for policy in get_args(_PullPolicy):
        if word == policy:
            return policy
    raise InvalidInput(
        f"--pull-policy {word} is not known", next_step=f"use one of: {', '.join(get_args(_PullPolicy))}"
    )
