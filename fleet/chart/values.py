"""The chart's values: typed, documented, and refused with a sentence where they make no sense.

This model is the only one: `values.yaml`, the schema that helm checks, and the checks in the templates come of it, and
the chart's own job parses what it is given with it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.wire import from_builtins
from fleet.topology.capabilities import Endpoint, Json
from fleet.topology.kubernetes.options import IMAGE, NATS_IMAGE, PORTS, USER
from fleet.topology.kubernetes.shape import Exposure, Shape, Storage


def _about(text: str, **limits: Any) -> msgspec.Meta:  # noqa: ANN401 - msgspec's own limits
    return msgspec.Meta(description=text, **limits)


class _Values(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A group of values; an unknown one is refused, for it is a known one misspelt."""


class Identity(_Values, frozen=True):
    """The identity provider, a Zitadel that is there already."""

    issuer: Annotated[str, _about("Its URL, exactly as it calls itself. Required.")] = ""
    ca: Annotated[str, _about("PEM of the authority that signed its certificate, if that is not a public one.")] = ""
    admin_token_secret: Annotated[
        str,
        _about(
            "A Secret whose key `token` holds a personal access token of an organisation owner: project, role and the "
            "CLI's application are made with it, and it is needed for nothing else. Give this, or the two ids below."
        ),
    ] = ""
    project_id: Annotated[str, _about("The id of the project `fleet`, where it is there already.")] = ""
    cli_client_id: Annotated[str, _about("The client id of the CLI's application, where it is there already.")] = ""


class NatsStorage(_Values, frozen=True):
    """Where each server of NATS keeps its streams."""

    size: Annotated[str, _about("The size of its volume.")] = "1Gi"
    storage_class: Annotated[str, _about("The volume's storage class; empty for the cluster's default.")] = ""


class Nats(_Values, frozen=True):
    """NATS, and how devices reach it."""

    host: Annotated[
        str,
        _about("The name or address by which devices reach NATS; it is written into their configuration. Required."),
    ] = ""
    port: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=65535)] | None,
        _about("The port of that address; null for the exposure's own (30422 for node-port, 4222, else 443)."),
    ] = None
    exposure: Annotated[Exposure, _about("What leads from there to NATS.")] = Exposure.NODE_PORT
    ingress_class: Annotated[str, _about("Who serves the Ingress; empty for the cluster's default.")] = ""
    replicas: Annotated[Literal[1, 3], _about("Servers of NATS; 3 survive the loss of a node.")] = 1
    storage: Annotated[NatsStorage, _about("Where each server keeps its streams.")] = NatsStorage()


class Callout(_Values, frozen=True):
    """The service that decides which devices may log in."""

    replicas: Annotated[int, _about("How many run.", ge=1, le=9)] = 2


class ChartValues(_Values, frozen=True):
    """All values."""

    image: Annotated[str, _about("The product's image: operator and callout.")] = IMAGE
    nats_image: Annotated[str, _about("An image that starts nats-server 2.10 or newer.")] = NATS_IMAGE
    pull_policy: Annotated[Literal["IfNotPresent", "Always", "Never"], _about("When nodes pull the images.")] = (
        "IfNotPresent"
    )
    pull_secret: Annotated[
        str, _about("A Secret of type kubernetes.io/dockerconfigjson in the namespace; empty for none.")
    ] = ""
    user: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        _about("The user of every pod; null where the cluster assigns one, as OpenShift does."),
    ] = USER
    definitions: Annotated[
        bool, _about("Whether this release defines Device and FleetDeployment; of several in a cluster, one does.")
    ] = True
    identity: Annotated[Identity, _about("The identity provider, a Zitadel that is there already.")] = Identity()
    nats: Annotated[Nats, _about("NATS, and how devices reach it.")] = Nats()
    callout: Annotated[Callout, _about("The service that decides which devices may log in.")] = Callout()


class Rule(msgspec.Struct, frozen=True):
    """A grammar that one value follows, written so that Python's and Go's expressions agree on it."""

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
    Rule("nats.storage.size", r"^[1-9][0-9]*(Mi|Gi|Ti)$", "give a size in Mi, Gi or Ti: 5Gi"),
    Rule("image", r"^[^\s]+$", f"give the product's image with its tag: {IMAGE}"),
    Rule("natsImage", r"^[^\s]+$", f"give an image of NATS with its tag: {NATS_IMAGE}"),
)
ONE_IDENTITY = (
    "give either identity.adminTokenSecret, or both identity.projectId and identity.cliClientId: the ids of a project "
    "'fleet' that is there already"
)


def parse_values(given: Json) -> ChartValues:
    """What a person wrote, typed.

    Raises:
        InvalidInput: a value is unknown, of another type, or makes no sense.
    """
    values = from_builtins(given, ChartValues)
    told = as_json(values)
    for rule in RULES:
        found: Any = told
        for key in rule.path.split("."):
            found = found[key]
        if re.search(rule.pattern, found) is None:
            raise InvalidInput(f"{rule.path} is {found!r}" if found else f"{rule.path} is missing", next_step=rule.says)
    identity = values.identity
    if bool(identity.admin_token_secret) == bool(identity.project_id and identity.cli_client_id):
        raise InvalidInput("identity: it is not said which project is ours", next_step=ONE_IDENTITY)
    return values


def as_json(values: ChartValues) -> Json:
    """The values as helm has them, all of them."""
    return msgspec.to_builtins(values)


def shape_of(values: ChartValues) -> Shape:
    """The shape of the install that the values describe."""
    nats = values.nats
    return Shape(
        image=values.image,
        nats_image=values.nats_image,
        nats_address=Endpoint(nats.host, nats.port or PORTS[nats.exposure]),
        exposure=nats.exposure,
        nats_replicas=nats.replicas,
        callout_replicas=values.callout.replicas,
        storage=Storage(nats.storage.size, nats.storage.storage_class),
        pull_secret=values.pull_secret,
        pull_policy=values.pull_policy,
        ingress_class=nats.ingress_class,
        user=values.user,
    )
