"""The chart's values: typed, documented, and refused with a sentence where they make no sense.

`values.yaml` and the schema that helm checks are written from this model (`fleet/chart/generate.py`), and the chart's
own job parses what it is given with it. Types, defaults and texts of what a direct install has too are those of `Shape`
and `UpgradeRules`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from fleet.contract.config import UpgradeRules
from fleet.contract.errors import InvalidInput
from fleet.contract.wire import from_builtins
from fleet.topology.capabilities import Endpoint, Json
from fleet.topology.kubernetes.options import IMAGE, NATS_IMAGE, PORTS, USER, nats_image
from fleet.topology.kubernetes.shape import (
    CalloutReplicas,
    ImagePull,
    IngressClass,
    NatsExposure,
    NatsImage,
    NatsReplicas,
    PodUser,
    PullSecret,
    Shape,
    Storage,
    StorageClass,
    StorageSize,
    WebEnabled,
    WebExposure,
    WebHost,
    WebIngressClass,
    WebWay,
    described,
)

_SHAPE = Shape(image="", nats_image="", nats_address=Endpoint("", 0))
"""Holds the defaults of an install."""


class _Values(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A group of values; an unknown one is refused, for it is a known one misspelt."""


class Identity(_Values, frozen=True):
    """The identity provider, a Zitadel that is there already."""

    issuer: Annotated[str, described("Its URL, exactly as it calls itself. Required.")] = ""
    ca: Annotated[str, described("PEM of the authority that signed its certificate, if that is not a public one.")] = ""
    admin_token_secret: Annotated[
        str,
        described(
            "A Secret whose key `token` holds a personal access token of an organisation owner: project, role and the "
            "CLI's application are made with it, and it is needed for nothing else. Give this, or the two ids below."
        ),
    ] = ""
    project_id: Annotated[str, described("The id of the project `fleet`, where it is there already.")] = ""
    cli_client_id: Annotated[str, described("The client id of the CLI's application, where it is there already.")] = ""


class NatsStorage(_Values, frozen=True):
    """Where each server of NATS keeps its streams."""

    size: StorageSize = _SHAPE.storage.size
    storage_class: StorageClass = _SHAPE.storage.storage_class


class Nats(_Values, frozen=True):
    """NATS, and how devices reach it."""

    host: Annotated[
        str,
        described("The name or address by which devices reach NATS; it is written into their configuration. Required."),
    ] = ""
    port: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=65535)] | None,
        described("The port of that address; null for the exposure's own (30422 for node-port, 4222, else 443)."),
    ] = None
    exposure: NatsExposure = _SHAPE.exposure
    ingress_class: IngressClass = _SHAPE.ingress_class
    replicas: NatsReplicas = _SHAPE.nats_replicas
    storage: Annotated[NatsStorage, described("Where each server keeps its streams.")] = NatsStorage()


class Callout(_Values, frozen=True):
    """The service that decides which devices may log in."""

    replicas: CalloutReplicas = _SHAPE.callout_replicas


class Upgrade(UpgradeRules, frozen=True, forbid_unknown_fields=True):
    """How the operator upgrades the devices' agents."""


class Web(_Values, frozen=True):
    """The read-only web page, served by the operator."""

    enabled: WebEnabled = _SHAPE.web
    client_id: Annotated[
        str,
        described(
            "The client id of a web application at the identity provider (authorization code with PKCE, no secret), by "
            "which people may sign in besides by device code; empty for none."
        ),
    ] = ""
    host: WebHost = _SHAPE.web_host
    exposure: WebWay = _SHAPE.web_exposure
    ingress_class: WebIngressClass = _SHAPE.web_ingress_class


class ChartValues(_Values, frozen=True):
    """All values."""

    image: Annotated[
        str, described("The image of operator and callout; empty for `fleet` with the tag of the chart's appVersion.")
    ] = ""
    nats_image: NatsImage = NATS_IMAGE
    pull_policy: ImagePull = _SHAPE.pull_policy
    pull_secret: PullSecret = _SHAPE.pull_secret
    user: PodUser = USER
    definitions: Annotated[
        bool, described("Whether this release defines Device and FleetDeployment; of several in a cluster, one does.")
    ] = True
    identity: Annotated[Identity, described("The identity provider, a Zitadel that is there already.")] = Identity()
    nats: Annotated[Nats, described("NATS, and how devices reach it.")] = Nats()
    callout: Annotated[Callout, described("The service that decides which devices may log in.")] = Callout()
    upgrade: Annotated[Upgrade, described("How the operator upgrades the devices' agents.")] = Upgrade()
    web: Annotated[Web, described("The read-only web page, served by the operator.")] = Web()


class Rule(msgspec.Struct, frozen=True):
    """A grammar that one value follows; `templates/validate.yaml` has the same, so Python and Go must agree on it."""

    path: str
    pattern: str
    says: str


RULES = (
    Rule(
        "identity.issuer",
        r"^https?://[^\s/?#]+(/[^\s?#]*[^\s/?#])?$",
        "give the identity provider's URL as it calls itself, without a slash at its end: https://id.example.org",
    ),
    Rule(
        "nats.host",
        r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        "give the name or IPv4 address by which devices reach NATS, without a port: nats.example.org",
    ),
    Rule(
        "web.host",
        r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$",
        "give the name by which browsers reach the web page, without a port: fleet.example.org",
    ),
    Rule("nats.storage.size", r"^[1-9][0-9]*(Mi|Gi|Ti)$", "give a size in Mi, Gi or Ti: 5Gi"),
    Rule(
        "image",
        r"^[^\s]*$",
        "give the product's image with its tag, or nothing for the image of the chart's own version",
    ),
    Rule("natsImage", r"^[^\s]+$", f"give an image of NATS with its tag: {NATS_IMAGE}"),
)
ONE_IDENTITY = (
    "give either identity.adminTokenSecret, or both identity.projectId and identity.cliClientId: the ids of a project "
    "'fleet' that is there already"
)

WEB_ADDRESS = (
    "give web.host, the name by which browsers reach the page, together with web.exposure ingress or route, and "
    "web.enabled; or none of them"
)


def parse_values(given: Json) -> ChartValues:
    """What a person wrote, typed.

    Raises:
        InvalidInput: a value is unknown, of another type, or makes no sense.
    """
    values = from_builtins(given, ChartValues)
    plain = as_json(values)
    for rule in RULES:
        found: Any = plain
        for key in rule.path.split("."):
            found = found[key]
        if re.search(rule.pattern, found) is None:
            raise InvalidInput(f"{rule.path} is {found!r}" if found else f"{rule.path} is missing", next_step=rule.says)
    identity = values.identity
    if bool(identity.admin_token_secret) == bool(identity.project_id and identity.cli_client_id):
        raise InvalidInput("identity: nothing says which project is ours", next_step=ONE_IDENTITY)
    by_name = bool(values.web.host)
    if by_name is (values.web.exposure is WebExposure.PORT_FORWARD) or (by_name and not values.web.enabled):
        raise InvalidInput("web: nothing says how browsers reach the page", next_step=WEB_ADDRESS)
    return values


def as_json(values: ChartValues) -> Json:
    """The values as helm has them, all of them."""
    return msgspec.to_builtins(values)


def shape_of(values: ChartValues) -> Shape:
    """The shape of the install that the values describe."""
    nats = values.nats
    return Shape(
        image=values.image or IMAGE,
        nats_image=nats_image(values.nats_image),
        nats_address=Endpoint(nats.host, nats.port or PORTS[nats.exposure]),
        exposure=nats.exposure,
        nats_replicas=nats.replicas,
        callout_replicas=values.callout.replicas,
        storage=Storage(nats.storage.size, nats.storage.storage_class),
        pull_secret=values.pull_secret,
        pull_policy=values.pull_policy,
        ingress_class=nats.ingress_class,
        user=values.user,
        web=values.web.enabled,
        web_host=values.web.host,
        web_exposure=values.web.exposure,
        web_ingress_class=values.web.ingress_class,
    )
