"""The chart's templates: the plan's objects, rendered once for each choice of an install, woven into one text."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import msgspec

from fleet.chart.hook import hook_objects
from fleet.chart.text import Writer, mark
from fleet.chart.values import ONE_IDENTITY, RULES
from fleet.chart.weave import Choice, Mapping, Member, weave
from fleet.nkey import Role, new_seed
from fleet.scores.nats import NatsPasswords
from fleet.scores.plan import ServerSettings, server_objects, server_plan
from fleet.scores.secrets import RouteSecrets, ServerSecrets
from fleet.topology.capabilities import Endpoint, Json, Service
from fleet.topology.kubernetes.labels import COMPONENT
from fleet.topology.kubernetes.options import PORTS
from fleet.topology.kubernetes.pods import DIGEST
from fleet.topology.kubernetes.render import render
from fleet.topology.kubernetes.shape import Exposure, Shape, Storage, endpoints

_PORT, _USER, _CALLOUTS = 1_000_001, 1_000_002, 1_000_003
"""Marks that are numbers; no object holds them otherwise."""
_NUMBERS = {
    _PORT: 'include "fleet.natsPort" .',
    _USER: ".Values.user | int",
    _CALLOUTS: ".Values.callout.replicas | int",
}
_VALUES = {
    "namespace": ".Release.Namespace | quote",
    "image": ".Values.image | quote",
    "nats.image": ".Values.natsImage | quote",
    "pull.policy": ".Values.pullPolicy",
    "pull.secret": ".Values.pullSecret | quote",
    "admin": ".Values.identity.adminTokenSecret | quote",
    "host": ".Values.nats.host | quote",
    "storage.size": ".Values.nats.storage.size | quote",
    "storage.class": ".Values.nats.storage.storageClass | quote",
    "ingress.class": ".Values.nats.ingressClass | quote",
    "digest": 'include "fleet.digest" . | quote',
    "values": 'omit .Values "global" | toJson | quote',
}
_BASE = Shape(
    image=mark("image"),
    nats_image=mark("nats.image"),
    nats_address=Endpoint(mark("host"), _PORT),
    callout_replicas=1,
    storage=Storage(mark("storage.size")),
    # Any text will do for a template, and only the three words in an install.
    pull_policy=mark("pull.policy"),  # type: ignore[arg-type]
)
_NAMESPACE = mark("namespace")


class _Option(msgspec.Struct, frozen=True):
    """A choice, and what makes it in a shape."""

    choice: Choice
    made: Callable[[Shape], Shape]


def _replaced(**changes: object) -> Callable[[Shape], Shape]:
    return lambda shape: msgspec.structs.replace(shape, **changes)


_OPTIONS = (
    _Option(
        Choice("eq (int .Values.nats.replicas) 3", ".Values.nats.replicas | int", off=1, on=3),
        _replaced(nats_replicas=3),
    ),
    _Option(
        Choice("gt (int .Values.callout.replicas) 1", ".Values.callout.replicas | int", off=1, on=_CALLOUTS),
        _replaced(callout_replicas=_CALLOUTS),
    ),
    _Option(Choice(".Values.user"), _replaced(user=_USER)),
    _Option(Choice(".Values.pullSecret"), _replaced(pull_secret=mark("pull.secret"))),
    _Option(
        Choice(".Values.nats.storage.storageClass"),
        _replaced(storage=Storage(mark("storage.size"), mark("storage.class"))),
    ),
    _Option(Choice(".Values.nats.ingressClass"), _replaced(ingress_class=mark("ingress.class"))),
)
_WITH_ADMIN = Choice(".Values.identity.adminTokenSecret")
_WITH_DEFINITIONS = Choice(".Values.definitions")


def templates() -> dict[str, str]:
    """Every template by its file name.

    Raises:
        CannotWeave: the renderer's choices are no longer independent; a defect that the tests find.
    """
    writer = Writer(_VALUES, _NUMBERS)
    found = {"_helpers.tpl": _helpers(), "prepare.yaml": _checks() + writer.documents(_hook())}
    for name, objects in (_standing() | _services()).items():
        found[f"{name}.yaml"] = writer.documents(objects)
    return found


def _objects(shape: Shape) -> tuple[Json, ...]:
    """The objects of the services that helm applies: all but the pods' files, which the chart's job writes."""
    objects = render(_plan_services(shape.nats_replicas, shape.callout_replicas), shape, _NAMESPACE)
    for item in objects:
        if item["kind"] in {"Deployment", "StatefulSet"}:
            item["spec"]["template"]["metadata"]["annotations"][DIGEST] = mark("digest")
    return tuple(item for item in objects if item["kind"] != "Secret")


def _standing() -> dict[str, Mapping]:
    """What does not depend on any choice. Definitions stay when a release goes, as devices do."""
    definitions: list[Member] = []
    accounts: list[Member] = []
    for item in server_objects(_NAMESPACE):
        if item["kind"] == "CustomResourceDefinition":
            meta = item["metadata"]
            annotations = meta.get("annotations", {}) | {"helm.sh/resource-policy": "keep"}
            kept = {**item, "metadata": meta | {"annotations": annotations}}
            definitions.append(Member(weave(kept, ()), _key(item), _WITH_DEFINITIONS))
        elif item["kind"] != "Namespace":  # helm's own business
            accounts.append(Member(weave(item, ()), _key(item)))
    return {"definitions": Mapping(tuple(definitions)), "accounts": Mapping(tuple(accounts))}


def _services() -> dict[str, Mapping]:
    """A file for each service; what differs between exposures is woven for each of them."""
    by_exposure = {exposure: _woven(exposure) for exposure in Exposure}
    common = by_exposure[Exposure.NODE_PORT]
    files: dict[str, list[Member]] = {}
    components = {_key(item): item["metadata"]["labels"][COMPONENT] for item in _every_object()}
    for member in common.members:
        if all(member in other.members for other in by_exposure.values()):
            files.setdefault(components[member.key], []).append(member)
    for exposure, woven in by_exposure.items():
        chosen = Choice(f'eq .Values.nats.exposure "{exposure.value}"')
        for member in woven.members:
            if member not in files[components[member.key]]:
                files[components[member.key]].append(Member(member.node, member.key, chosen))
    return {name: Mapping(tuple(members)) for name, members in files.items()}


def _woven(exposure: Exposure) -> Mapping:
    base = msgspec.structs.replace(_BASE, exposure=exposure)
    variants = [(option.choice, _by_key(option.made(base))) for option in _OPTIONS]
    return _mapping(weave(_by_key(base), variants))


def _every_object() -> list[Json]:
    shapes = [
        msgspec.structs.replace(_BASE, exposure=exposure, nats_replicas=3, callout_replicas=2) for exposure in Exposure
    ]
    return [item for shape in shapes for item in _objects(shape)]


def _hook() -> Mapping:
    def objects(shape: Shape, admin: str) -> Json:
        return {_key(item): item for item in hook_objects(shape, _NAMESPACE, mark("values"), admin)}

    variants = [(option.choice, objects(option.made(_BASE), "")) for option in _OPTIONS]
    return _mapping(weave(objects(_BASE, ""), [*variants, (_WITH_ADMIN, objects(_BASE, mark("admin")))]))


def _by_key(shape: Shape) -> Json:
    return {_key(item): item for item in _objects(shape)}


def _key(item: Json) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def _mapping(node: object) -> Mapping:
    if not isinstance(node, Mapping):
        raise TypeError("objects by their names make a mapping")
    return node


@functools.cache
def _plan_services(nats_replicas: Literal[1, 3], callout_replicas: int) -> tuple[Service, ...]:
    """The services of the plan, as far as a shape decides them."""
    shape = msgspec.structs.replace(_BASE, nats_replicas=nats_replicas, callout_replicas=callout_replicas)
    settings = ServerSettings(_NAMESPACE, "", "", "", "", "")
    return server_plan(settings, _secrets(shape), endpoints(_NAMESPACE, shape)).services


def _secrets(shape: Shape) -> ServerSecrets:
    """Anything: no template holds a secret, nor what is made of one."""
    return ServerSecrets(
        passwords=NatsPasswords("", "", "", "", ""),
        issuer_seed=new_seed(Role.ACCOUNT).encode().decode(),
        xkey_seed=new_seed(Role.CURVE).encode().decode(),
        authority="",
        nats_key=b"",
        nats_certificate=b"",
        server_id="",
        routes=RouteSecrets("", b"") if shape.nats_replicas > 1 else None,
    )


def _helpers() -> str:
    ports = " ".join(f'"{exposure.value}" {port}' for exposure, port in PORTS.items())
    return f"""\
{{{{- define "fleet.natsPort" -}}}}
{{{{ .Values.nats.port | default (get (dict {ports}) .Values.nats.exposure) | int }}}}
{{{{- end }}}}
{{{{- /* Differs when the files differ that the chart's job writes: pods are replaced then. */}}}}
{{{{- define "fleet.digest" -}}}}
{{{{ list .Chart.AppVersion .Release.Namespace .Values.identity .Values.nats.host .Values.nats.exposure \
(int .Values.nats.replicas) | toJson | sha256sum | trunc 32 }}}}
{{{{- end }}}}
"""


def _checks() -> str:
    """What the schema cannot say in words."""
    lines = [
        _failing(f"not (regexMatch `{rule.pattern}` .Values.{rule.path})", _said(rule.path, rule.says))
        for rule in RULES
    ]
    both = "and .Values.identity.projectId .Values.identity.cliClientId"
    lines.append(_failing(f"eq (not .Values.identity.adminTokenSecret) (not ({both}))", ONE_IDENTITY))
    return "".join(lines)


def _failing(condition: str, says: str) -> str:
    return f"{{{{- if {condition} }}}}\n{{{{- fail `{says}` }}}}\n{{{{- end }}}}\n"


def _said(path: str, says: str) -> str:
    return f"{path}: {says}"
