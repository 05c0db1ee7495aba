"""From what an admin says of a cluster, and what the cluster is, to the shape of an install. Pure."""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.topology.capabilities import Endpoint
from fleet.topology.kubernetes.shape import Exposure, PullPolicy, Replicas, Shape, Storage, WebExposure
from fleet.topology.place_options import PlaceOptions
from fleet.version import VERSION

IMAGE = f"fleet:{VERSION}"
NATS_IMAGE = "nats:2.15-alpine"
_WITHOUT_WGET = re.compile(r"(.+/)?(library/)?nats(:(?!.*(alpine|linux))[^/@]*)?")
"""NATS' own image but for its variants: it holds the server alone."""
_ZITADEL_IMAGE, _POSTGRES_IMAGE = "zitadel/zitadel:v4.10.1", "postgres:17"
USER = 65532
"""Of the product's image; any other does as well."""
PORTS = {Exposure.NODE_PORT: 30422, Exposure.LOAD_BALANCER: 4222, Exposure.INGRESS: 443, Exposure.ROUTE: 443}
"""What devices connect to, where no other port is given."""
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


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
    web_exposure = _web_exposure(options, cluster)
    by_ingress = {Exposure.INGRESS, WebExposure.INGRESS} & {exposure, web_exposure}
    if options.ingress_class and not by_ingress:
        raise InvalidInput(
            f"--ingress-class {options.ingress_class} counts only with --exposure ingress, and it is {exposure.value}, "
            "or with --web-exposure ingress",
            next_step="give one of them, or leave --ingress-class out",
        )
    return Shape(
        image=options.image or IMAGE,
        nats_image=nats_image(options.nats_image or NATS_IMAGE),
        zitadel_image=options.zitadel_image or _ZITADEL_IMAGE,
        postgres_image=options.postgres_image or _POSTGRES_IMAGE,
        nats_address=_address(options.nats_address, PORTS[exposure]),
        exposure=exposure,
        nats_replicas=_replicas(options.nats_replicas),
        storage=Storage(_size(options.storage_size or Storage().size), options.storage_class),
        pull_secret=options.pull_secret,
        pull_policy=_pull_policy(options.pull_policy or "IfNotPresent"),
        ingress_class=options.ingress_class if exposure is Exposure.INGRESS else "",
        user=options.user if options.user is not None else (None if cluster.assigns_users else USER),
        web=options.web,
        web_host=options.web_host,
        web_exposure=web_exposure,
        web_ingress_class=options.ingress_class if web_exposure is WebExposure.INGRESS else "",
    )


def nats_image(image: str) -> str:
    """The image, in which the kubelet asks NATS how it is: nobody else can ask its monitor.

    Raises:
        InvalidInput: it is known to hold no wget.
    """
    if _WITHOUT_WGET.fullmatch(image):
        raise InvalidInput(
            f"the image {image} holds no wget, by which the kubelet asks NATS how it is",
            next_step=f"use {NATS_IMAGE}, or another image with nats-server and wget",
        )
    return image


def _web_exposure(options: PlaceOptions, cluster: Cluster) -> WebExposure:
    """How the web page's name leads in, where it has one."""
    word, host = options.web_exposure, options.web_host
    if not host:
        if word not in {"", WebExposure.PORT_FORWARD.value}:
            raise InvalidInput(
                f"--web-exposure {word}, and the page has no name",
                next_step="give it with --web-host, for example --web-host fleet.example.org",
            )
        return WebExposure.PORT_FORWARD
    if not options.web:
        raise InvalidInput("--web-host counts only with --web", next_step="give --web too, or leave it out")
    if _HOST.fullmatch(host) is None:
        raise InvalidInput(
            f"--web-host {host!r} is no name of a host",
            next_step="give the name by which browsers reach the page, without a port: fleet.example.org",
        )
    if not word:
        return WebExposure.ROUTE if cluster.has_routes else WebExposure.INGRESS
    known = [way.value for way in WebExposure if way is not WebExposure.PORT_FORWARD]
    if word not in known:
        raise InvalidInput(
            f"--web-exposure {word} does not lead from --web-host to the page",
            next_step=f"use one of: {', '.join(known)}; without --web-host it is reached by port-forward",
        )
    if word == WebExposure.ROUTE.value and not cluster.has_routes:
        raise InvalidInput(
            "--web-exposure route: this cluster has no Routes, which are OpenShift's", next_step="use ingress"
        )
    return WebExposure(word)


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
        problem = f"--nats-address {word!r} is not HOST or HOST:PORT" if word else "--nats-address is missing"
        raise InvalidInput(
            problem,
            next_step="give the name or IPv4 address by which devices reach NATS, for example --nats-address "
            "nats.example.org; it is written into every device's configuration",
        )
    return Endpoint(host, number or default_port)


def _replicas(number: int) -> Replicas:
    if number == 1:
        return 1
    if number == 3:
        return 3
    raise InvalidInput(
        f"--nats-replicas {number}: NATS runs as one server or as three",
        next_step="use 3 if the server must survive the loss of a node",
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


def _pull_policy(word: str) -> PullPolicy:
    for policy in get_args(PullPolicy):
        if word == policy:
            return policy
    raise InvalidInput(f"--pull-policy {word} is not known", next_step=f"use one of: {', '.join(get_args(PullPolicy))}")
