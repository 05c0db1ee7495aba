"""Deployments as far as the page may know them; devices are read as they are, for they hold no secret.

A deployment's command, arguments and environment can hold secrets, and so can its annotations, where kubectl keeps
whole objects. They are no field here, so they are dropped while the API server's answer is read.
"""

from __future__ import annotations

import msgspec
import structlog

from fleet.contract.errors import InvalidInput
from fleet.contract.names import DeploymentName
from fleet.contract.objects import Condition, DeploymentStatus, Device, Strategy
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import withheld_name
from fleet.contract.selector import Selector
from fleet.contract.wire import decode

log = structlog.get_logger()


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """Which object it is, in which state."""

    name: str
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class Container(msgspec.Struct, frozen=True):
    """What a container is made of."""

    image: str = ""


class Workload(msgspec.Struct, frozen=True):
    """What runs."""

    image: str = ""
    containers: tuple[Container, ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """The images that it is made of."""
        every = (self.image, *(container.image for container in self.containers))
        return tuple(image for image in every if image)


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """What runs where, and how a change spreads."""

    workload: Workload = Workload()
    selector: Selector = Selector()
    strategy: Strategy = Strategy()


class Deployment(msgspec.Struct, frozen=True, rename="camel"):
    """A `FleetDeployment`."""

    metadata: Meta
    spec: Spec = Spec()
    status: DeploymentStatus = DeploymentStatus()

    @property
    def current(self) -> bool:
        """Whether its status is about the object as it is now."""
        return self.status.observed_generation >= self.metadata.generation


def parse_deployment(data: bytes) -> Deployment:
    """A deployment as Kubernetes tells it. A status that does not parse counts as none.

    Raises:
        InvalidInput: its name or its spec is not of our kind.
    """
    try:
        item = decode(data, Deployment)
    except InvalidInput as error:
        try:
            without = msgspec.json.encode({**msgspec.json.decode(data, type=dict), "status": {}})
        except NOT_JSON:
            raise error from None
        item = decode(without, Deployment)
    DeploymentName(item.metadata.name)
    return item


class Unreadable(msgspec.Struct, frozen=True):
    """An object that is there and does not parse: why, and since when that is known, RFC 3339."""

    name: str
    why: str
    since: str


class _Named(msgspec.Struct):
    name: str


class _Head(msgspec.Struct):
    metadata: _Named


def name_of(data: bytes) -> str:
    """The name of an object, whatever else it holds; empty where it has none, which costs none of the others."""
    try:
        return decode(data, _Head).metadata.name
    except InvalidInput as error:
        log.warning("an object is left out", why=error.what)
        return ""


def condition(item: Device | Deployment, kind: str) -> Condition | None:
    """The condition of a type, if it was written."""
    return next((known for known in item.status.conditions if known.type == kind), None)


def withheld_secret(item: Deployment) -> str:
    """The Secret that devices may not have, and for whose sake the deployment is not sent; empty if there is none.

    It is in the operator's own words: those of a device stand beside a status `True`, or another reason.
    """
    ready = condition(item, "Ready")
    if ready is None or not item.current or (ready.status, ready.reason) != ("False", "SecretNotSealable"):
        return ""
    return withheld_name(ready.message)
