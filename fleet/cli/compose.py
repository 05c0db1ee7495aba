"""A deployment from a Compose file: what of its services maps to a workload; every other line is named.

After the Compose specification (compose-spec.io). Nothing is ignored: a file with a key that does not map
is refused as a whole, and so is one with variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, cast

import msgspec

from fleet.cli.compose_keys import container
from fleet.cli.compose_values import is_yes
from fleet.cli.compose_variables import resolved
from fleet.cli.deployment_source import Options, OptionSource
from fleet.contract.errors import InvalidInput
from fleet.contract.objects import FleetDeployment
from fleet.contract.pod import Condition, Pod, PodContainer
from fleet.contract.tree import Object, Path
from fleet.contract.wire import Container, Restart, from_builtins
from fleet.contract.written import Fault, Written, dotted

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json

_TOP = {"version", "name", "services", "volumes", "secrets"}
_ENDS = {Restart.NO.value, Restart.ON_FAILURE.value}


class ComposeSource:
    """A deployment whose workload is what a Compose file says; selector and strategy are those of the options."""

    generation, uid = 0, ""
    """The generation and the uid of the object that it was made from: none."""

    def __init__(self, data: bytes, file: str, service: str, options: Options, *, every_device: bool) -> None:
        """Parse the file. `service` selects one of them; '' selects all.

        Raises:
            InvalidInput: it is no Compose file, has no such service, or says what does not map; all of that is named.
                Or it has several services, and no name.
        """
        step = "nothing was applied; take it out, or use --file (docs/workload.md)"
        written = Written(data, file, next_step=step, as_written=True)
        chosen = _services(written, service)
        top = cast("Object", written.value)
        faults = [*_repeated(top, ()), *_other_keys(top)]
        services = {name: resolved(one, ("services", name), faults) for name, one in chosen.items()}
        secrets = resolved(top.get("secrets"), ("secrets",), faults)
        made = {name: container(one, ("services", name), faults) for name, one in services.items()}
        faults += _secrets(made, secrets)
        faults += _order(made)
        faults += _ports(made)
        if faults:
            raise written.refusal(faults)
        self._workload = _workload(made, written)
        name = options.name or (next(iter(made)) if len(made) == 1 else str(top.get("name") or ""))
        if not name:
            raise InvalidInput(
                f"{file} has several services, and their deployment has no name",
                next_step="give --name, or `name:` in the file",
            )
        self._image = str(next(iter(made.values()))["image"])
        named = msgspec.structs.replace(options, name=name, image=self._image)
        self._inner = OptionSource(named, every_device=every_device)
        self.name = self._inner.name

    def merged_with(self, before: Json | None) -> Json:
        """The whole object: the selector and the strategy that are there stay, unless an option names others.

        Raises:
            InvalidInput: there is none yet, and an option is missing that one needs.
        """
        some = {"type": "container", "image": self._image}
        whole = self._inner.merged_with({**before, "spec": {**before["spec"], "workload": some}} if before else None)
        whole["spec"]["workload"] = self._workload
        from_builtins(whole, FleetDeployment)
        return whole


def _services(written: Written, wanted: str) -> dict[str, Object]:
    services = written.value.get("services") if isinstance(written.value, Object) else None
    if not isinstance(services, Object) or not services:
        raise written.refusal([Fault((), "it has no services")])
    if wanted and wanted not in services:
        says = f"it has no service {wanted}; there are: {', '.join(map(str, services))}"
        raise written.refusal([Fault(("services",), says)])
    found = {name: services[name] for name in ([wanted] if wanted else services)}
    if others := [("services", name) for name, service in found.items() if not isinstance(service, Object)]:
        raise written.refusal([Fault(path, f"{dotted(path)} says nothing of a service") for path in others])
    return cast("dict[str, Object]", found)


def _repeated(value: object, path: Path) -> Iterator[Fault]:
    """Repeated names in one object; a parser would take the last."""
    if isinstance(value, Object):
        for name in value.repeated:
            yield Fault((*path, name), f"{dotted((*path, name))} stands there twice")
        for name, member in value.items():
            yield from _repeated(member, (*path, name))
    elif isinstance(value, list):
        for number, member in enumerate(cast("list[object]", value)):
            yield from _repeated(member, (*path, number))


def _other_keys(top: Object) -> Iterator[Fault]:
    for key in top:
        if key not in _TOP and not key.startswith("x-"):
            yield Fault((key,), f"{key} does not map to a deployment")
    volumes = top.get("volumes") or Object()
    if not isinstance(volumes, Object):
        yield Fault(("volumes",), "volumes is no map of names")
        return
    for name, volume in volumes.items():
        if volume:
            yield Fault(("volumes", name), f"volumes.{name} says more than a name")


def _secrets(made: Mapping[str, Json], secrets: object) -> Iterator[Fault]:
    """Name the Secret of Kubernetes, and its key, in each file that has a secret."""
    known: dict[str, Json] = {}
    declared = secrets or Object()
    if not isinstance(declared, Object):
        yield Fault(("secrets",), "secrets is no map of names")
        return
    for name, one in declared.items():
        definition = one if isinstance(one, Object) else Object()
        secret, _, key = str(definition.get("name", "")).partition("/")
        if is_yes(definition.get("external")) and set(definition) == {"external", "name"} and secret and key:
            known[name] = {"name": secret, "key": key}
        else:
            says = f"secrets.{name}: its value comes from Kubernetes: say `external: true` and `name: SECRET/KEY`"
            yield Fault(("secrets", name), says)
    for service, fields in made.items():
        for file in fields.get("files", ()):
            if (name := file["secret"]) in known:
                file["secret"] = known[name]
            elif name not in declared:
                here = ("services", service, "secrets")
                yield Fault(here, f"{dotted(here)}: the file has no secret {name}")


def _order(made: Mapping[str, Json]) -> Iterator[Fault]:
    """The faults in the order of the services. A service whose end is waited for must end: Compose starts it once."""
    for name, spec in made.items():
        here = ("services", name, "depends_on")
        for needed in spec.get("dependsOn", ()):
            other = made.get(needed["name"])
            if other is None:
                known = ", ".join(made)
                yield Fault(
                    here, f"{dotted(here)}: {needed['name']} is no service of the deployment, which has {known}"
                )
            elif needed["condition"] == Condition.COMPLETED.value and other.setdefault("restart", "no") not in _ENDS:
                says = f"{needed['name']} has no end, for its restart is {other['restart']}"
                yield Fault(here, f"{dotted(here)}: {says}")
    waits = {name: [needed["name"] for needed in spec.get("dependsOn", ())] for name, spec in made.items()}
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        circle = cast("list[str]", error.args[1])
        first = next(name for name in made if name in circle)
        yield Fault(("services", first, "depends_on"), f"services wait for each other: {', '.join(circle[1:])}")


def _ports(made: Mapping[str, Json]) -> Iterator[Fault]:
    """Ports of the device that two services publish."""
    owners: dict[tuple[int, str], str] = {}
    for name, spec in made.items():
        for port in spec.get("ports", ()):
            owner = owners.setdefault((port["host"], port["protocol"]), name)
            if owner != name:
                here = ("services", name, "ports")
                says = f"{dotted(here)}: {owner} publishes the port {port['host']}/{port['protocol']} of the device too"
                yield Fault(here, says)


def _workload(made: Mapping[str, Json], written: Written) -> Json:
    """One service as a container, or several as a pod.

    None becomes an init container: only services with it in `depends_on` wait for it.
    """
    if len(made) == 1:
        name, fields = next(iter(made.items()))
        if faults := list(_values(fields, Container, ("services", name))):
            raise written.refusal(faults)
        return {"type": "container", **fields}
    parts = [{"name": name, **spec} for name, spec in made.items()]
    if faults := [fault for part in parts for fault in _values(part, PodContainer, ("services", part["name"]))]:
        raise written.refusal(faults)
    workload: Json = {"type": "pod", "containers": parts}
    if faults := list(_values(workload, Pod, ("services",))):
        raise written.refusal(faults)
    return workload


def _values(value: Json, kind: type[Container | PodContainer | Pod], here: Path) -> Iterator[Fault]:
    """What the definition does not accept."""
    try:
        from_builtins(value, kind)
    except InvalidInput as error:
        # What follows says enough: in front of it stands the name of our class.
        yield Fault(here, f"{dotted(here)}: {error.what.partition(': ')[2]}")
