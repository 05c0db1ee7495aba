"""Several containers that belong together: a second kind of workload (decision 070)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, overload

import msgspec

from fleet.contract.confinement import Network, Update, UpdateOrder
from fleet.contract.limits import MAX_POD_CONTAINERS, Id
from fleet.contract.workload import Container, Container2, ContainerFields, Restart, container_as_sent

_ITSELF = "localhost"
NAME_RULE = {
    "rule": f"self != '{_ITSELF}'",
    "message": f"{_ITSELF} is each container itself, so no container of a pod has that name",
}
ContainerName = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z",
        extra_json_schema={"x-kubernetes-validations": [NAME_RULE]},
    ),
]
"""An RFC 1123 label, for the other containers of the pod reach it by this name."""


class Condition(Enum):
    """What a container waits for (Compose specification, `depends_on`)."""

    STARTED = "Started"
    HEALTHY = "Healthy"
    COMPLETED = "Completed"


class Dependency(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Another container of the pod, and what it must have come to."""

    name: ContainerName
    condition: Condition = Condition.STARTED


class PodContainer(
    ContainerFields, frozen=True, rename="camel", omit_defaults=True, kw_only=True, forbid_unknown_fields=True
):
    """A container of a pod."""

    name: ContainerName
    depends_on: Annotated[tuple[Dependency, ...], msgspec.Meta(max_length=MAX_POD_CONTAINERS)] = ()


class InitContainer(
    ContainerFields, frozen=True, rename="camel", omit_defaults=True, kw_only=True, forbid_unknown_fields=True
):
    """A container that runs to its end before the pod's containers start."""

    name: ContainerName
    restart: Restart = Restart.ON_FAILURE


_ENDS = frozenset({Restart.NO, Restart.ON_FAILURE})
"""Of a container that is not started again once it has ended well."""
INIT_RULE = {
    "rule": "!has(self.restart) || self.restart == 'no' || self.restart == 'on-failure'",
    "message": "an init container has an end: its restart is no or on-failure",
}
RECREATE_RULE = {
    "rule": "self.type != 'pod' || !has(self.update) || !has(self.update.order) || self.update.order == 'Recreate'",
    "message": "the containers of a pod keep their addresses, so the order of its update is Recreate",
}
_OF_EACH = "!has(self.containers) || self.containers.all(one, !has(one.dependsOn) || "
_NAMED = "self.containers.exists(other, other.name == needed.name && "
_HAS_AN_END = "(has(other.restart) && other.restart in ['no', 'on-failure'])"
BETWEEN_RULES = (
    {
        "rule": "!has(self.containers) || !has(self.initContainers) || "
        "self.containers.all(one, !self.initContainers.exists(other, other.name == one.name))",
        "message": "a container has the name of an init container",
    },
    {
        "rule": f"{_OF_EACH}one.dependsOn.all(needed, "
        f"{_NAMED}(!has(needed.condition) || needed.condition != 'Completed' || {_HAS_AN_END}))))",
        "message": "a container depends on others of the pod, and waits for the end of those alone that have one: "
        "their restart is no or on-failure",
    },
    {
        "rule": f"{_OF_EACH}!one.dependsOn.exists(needed, needed.name == one.name))",
        "message": "a container depends on itself",
    },
)
"""What Kubernetes can say of all containers at once; longer circles and shared ports cost it too much."""


class Pod(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="pod"):
    """Containers with one network, in which they reach each other by name, and with one set of volumes.

    `init_containers` run to their end first, one after the other.
    """

    containers: Annotated[tuple[PodContainer, ...], msgspec.Meta(min_length=1, max_length=MAX_POD_CONTAINERS)]
    init_containers: Annotated[tuple[InitContainer, ...], msgspec.Meta(max_length=MAX_POD_CONTAINERS)] = ()
    update: Update = Update()

    def __post_init__(self) -> None:
        """Refuse names and ports that stand twice, and an order in which something never starts.

        Raises:
            ValueError: one of these, in words.
        """
        _once("the container", (container.name for container in self._all))
        if _ITSELF in self.parts:
            raise ValueError(NAME_RULE["message"])
        _once(
            "the port",
            (f"{port.host}/{port.protocol.value} of the device" for container in self._all for port in container.ports),
        )
        for container in self.init_containers:
            if container.restart not in _ENDS:
                raise ValueError(f"{container.name}: {INIT_RULE['message']}")
        if self.update.order is not UpdateOrder.RECREATE:
            raise ValueError(RECREATE_RULE["message"])
        _in_order(self.containers)

    @property
    def _all(self) -> tuple[InitContainer | PodContainer, ...]:
        return (*self.init_containers, *self.containers)

    @property
    def parts(self) -> Mapping[str, ContainerFields]:
        """Its containers by name, the init containers first."""
        return {container.name: container for container in self._all}

    @property
    def takes_secrets(self) -> bool:
        """Whether one of its containers needs a value of a Secret."""
        return any(container.takes_secrets for container in self._all)


def _once(what: str, names: Iterable[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"{what} {name} is named {times} times in the pod")


def _in_order(containers: tuple[PodContainer, ...]) -> list[str]:
    """The names, each after those that it depends on.

    Raises:
        ValueError: they wait for each other, for one that is not there, or for the end of one that has none.
    """
    by_name = {container.name: container for container in containers}
    for container in containers:
        _once(f"what {container.name} depends on,", (needed.name for needed in container.depends_on))
        for needed in container.depends_on:
            other = by_name.get(needed.name)
            if other is None:
                raise ValueError(f"{container.name} depends on {needed.name}, which is no container of the pod")
            if needed.condition is Condition.COMPLETED and other.restart not in _ENDS:
                raise ValueError(
                    f"{container.name} waits for the end of {other.name}, whose restart is {other.restart.value}"
                )
    order: list[str] = []
    left = list(by_name)
    while left:
        ready = [name for name in left if all(needed.name in order for needed in by_name[name].depends_on)]
        if not ready:
            raise ValueError(f"containers of the pod wait for each other: {', '.join(left)}")
        order += ready
        left = [name for name in left if name not in order]
    return order


def start_order(pod: Pod) -> list[str]:
    """The names of a pod's containers in the order in which they start."""
    return [*(container.name for container in pod.init_containers), *_in_order(pod.containers)]


class SentPod(Pod, frozen=True, rename="camel", omit_defaults=True, tag="pod", forbid_unknown_fields=True):
    """A pod as devices are sent it: an agent reports a field that it does not know as unsupported."""

    secrets_digests: Annotated[dict[ContainerName, Id], msgspec.Meta(max_length=2 * MAX_POD_CONTAINERS)] = {}
    """As `Container2.secrets_digest`, by container."""


class Member(Container2, frozen=True, rename="camel", omit_defaults=True, tag="member", kw_only=True):
    """A container of a pod as the agent runs it; it is never sent.

    `peers` are the names that it finds in its network, its own among them. `after` is what it waits for.
    """

    name: str
    peers: tuple[str, ...] = ()
    after: tuple[Dependency, ...] = ()


@overload
def as_sent(workload: Container) -> Container | Container2: ...


@overload
def as_sent(workload: Container | Pod) -> Workload: ...


def as_sent(workload: Container | Pod) -> Workload:
    """The workload as devices are sent it."""
    if isinstance(workload, Container):
        return container_as_sent(workload)
    values = {name: getattr(workload, name) for name in Pod.__struct_fields__}
    return SentPod(**values, secrets_digests=workload.secrets_digests if isinstance(workload, SentPod) else {})


def members(pod: SentPod) -> dict[str, Member]:
    """A pod's containers in the order in which they start."""
    peers = tuple(sorted(name for name, container in pod.parts.items() if container.network is Network.BRIDGE))
    after = {container.name: container.depends_on for container in pod.containers}
    found: dict[str, Member] = {}
    done: tuple[Dependency, ...] = ()
    for name in start_order(pod):
        part = pod.parts[name]
        fields = {field: getattr(part, field) for field in ContainerFields.__struct_fields__}
        found[name] = Member(
            **fields,
            update=pod.update,
            secrets_digest=pod.secrets_digests.get(name, ""),
            name=name,
            peers=peers if part.network is Network.BRIDGE else (),
            after=(*done, *after.get(name, ())),
        )
        if isinstance(part, InitContainer):
            done = (*done, Dependency(name, Condition.COMPLETED))
    return found


_FEW = 3


def images_in_short(workload: Container | Pod) -> str:
    """The images of its containers, at most three of them, and how many more there are."""
    every = list(dict.fromkeys(part.image for part in workload.parts.values()))
    more = [f"and {len(every) - _FEW} more"] if len(every) > _FEW else []
    return ", ".join([*every[:_FEW], *more])


def images(workload: Container | Pod) -> str:
    """The images of its containers, for people."""
    return ", ".join(dict.fromkeys(part.image for part in workload.parts.values()))


Workload = Container | Container2 | SentPod
"""What a device is sent. Agents report an unknown tag, and an unknown field of all but the first, as unsupported."""
