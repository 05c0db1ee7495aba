"""Screens as markup. Everything that is put into a template is escaped by it, also what no one would see."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from fleet.cli.suggestions import describe, for_server
from fleet.contract.errors import FleetError, NotFound, Unreachable
from fleet.contract.objects import DEPLOYMENTS, DEVICES
from fleet.contract.printable import one_line
from fleet.web.objects import Deployment
from fleet.web.shown_deployments import ShownDeployments
from fleet.web.source import KUBERNETES
from fleet.web.store import Store
from fleet.web.views.blockers import Blockers
from fleet.web.views.deployments import deployment_row, deployment_screen, in_order, unreadable_row
from fleet.web.views.device import device_screen
from fleet.web.views.due import due
from fleet.web.views.history import Event, events_of, history
from fleet.web.views.now import now
from fleet.web.views.rollouts import rollouts, unreadable_rollout
from fleet.web.views.row import Summary
from fleet.web.views.unreadable import unreadable_trouble

_RECENT_CHANGES = 12
"""Changes that the first screen shows."""
_HISTORY_LENGTH = 20
"""Happenings and events that a screen shows."""
_KINDS = {
    "device": ("Device", DEVICES, "/devices"),
    "deployment": ("FleetDeployment", DEPLOYMENTS, "/deployments"),
    "members": ("FleetDeployment", DEPLOYMENTS, "/deployments"),
}
"""The kind of object that a screen shows, its plural, and the list of all, by the screen."""
_CACHE_SIZE = 64
"""Screens that are cached as they were last, for all pages that show them."""


class NotReadYet(Unreachable):
    """Nobody knows yet whether what was asked for exists."""


class Part(msgspec.Struct, frozen=True):
    """Which devices of a deployment are shown: those in a state, from the name `start` on."""

    state: str = ""
    start: str = ""


WHOLE = Part()


class Pages:
    """Renders what is known."""

    def __init__(self, store: Store, namespace: str) -> None:
        """`namespace` is the server's."""
        self._store = store
        self._namespace = namespace
        self._shown = ShownDeployments(store)
        self._cache: dict[tuple[str, str, Part], tuple[int, str]] = {}
        folder = Path(__file__).parent / "templates"
        self._templates = Environment(
            loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, finalize=_as_text
        )
        self._templates.filters["sentence"] = sentence

    def page(self, template: str, **values: object) -> str:
        """A whole page."""
        return self._templates.get_template(f"{template}.html").render(namespace=self._namespace, **values)

    def version(self, kind: str, name: str = "") -> int:
        """Another number whenever a screen may be another one."""
        match kind:
            case "device":
                return self._store.versions.of(name)
            case "deployment" | "members":
                return self._shown.version(name)
            case _:
                return self._store.version

    def screen(self, kind: str, name: str = "", part: Part = WHOLE) -> str:
        """The main part of a screen, the same text as long as nothing changed; of a device, as long as it did not.

        `part` is of the devices of a deployment that are shown.

        Raises:
            NotFound: there is no such device or deployment.
        """
        key, version = (kind, name, part), self.version(kind, name)
        cached = self._cache.get(key)
        if cached is not None and cached[0] == version:
            return cached[1]
        text = self._screen(kind, name, part)
        self._cache.pop(key, None)
        self._cache[key] = (version, text)
        while len(self._cache) > _CACHE_SIZE:
            del self._cache[next(iter(self._cache))]
        return text

    def _screen(self, kind: str, name: str, part: Part) -> str:
        known = self._store
        of, plural, back = _KINDS.get(kind, ("", "", ""))
        if of and (unread := known.unreadable[of].get(name)) is not None:
            command, events = describe(plural, name, self._namespace), self._events(of, name)
            shown = unreadable_trouble(unread)
            return self._templates.get_template("_unreadable.html").render(
                name=one_line(name), wrong=shown, back=back, command_text=command, events=events
            )
        template = self._templates.get_template(f"_{kind}.html")
        match kind:
            case "now":
                troubled = self._troubled()
                unread = known.unreadable["FleetDeployment"].values()
                shown = now(
                    (len(known.summaries), known.online),
                    troubled,
                    (
                        *(unreadable_rollout(deployment, self._namespace) for deployment in unread),
                        *rollouts(known.deployments.values(), troubled, known.workloads, self._namespace),
                    ),
                    known.sources.unavailable,
                    known.tail.since(0, _RECENT_CHANGES)[0][::-1],
                    due(known.certificates, known.secret_ages, known.now(), self._namespace),
                    self._namespace,
                )
                return template.render(now=shown, complete=known.complete, commands=for_server(self._namespace))
            case "device":
                return template.render(device=self._device(name), events=self._events("Device", name))
            case "deployments":
                items = known.deployments.values()
                away = self._blockers(items)
                rows = [deployment_row(one, away.offline(one)) for one in items]
                rows += [unreadable_row(unreadable) for unreadable in known.unreadable["FleetDeployment"].values()]
                return template.render(rows=in_order(rows), complete=known.complete)
            case "deployment" | "members":
                return template.render(**self._deployment(kind, name, part))
            case _:
                return template.render()

    def _deployment(self, kind: str, name: str, part: Part) -> dict[str, object]:
        known = self._store
        item = known.deployments.get(name)
        if item is None:
            raise self._missing(f"deployment {name}", "see the list of deployments")
        devices = self._shown.devices(name)
        if kind == "members":
            return {"deployment": name, "page": devices.page(part.state, part.start)}
        shown = deployment_screen(item, devices, known.revisions.get(name, ()), self._namespace)
        return {"deployment": shown, "events": self._events("FleetDeployment", name)}

    def _troubled(self) -> list[Summary]:
        """The devices with troubles, by name."""
        return [self._store.summaries[name] for name in sorted(self._store.troubled)]

    def _blockers(self, items: Collection[Deployment]) -> Blockers:
        return Blockers(self._troubled(), self._store.workloads, [item.spec.selector for item in items])

    def _events(self, kind: str, name: str) -> tuple[Event, ...]:
        return events_of(self._store.events, kind, name, _HISTORY_LENGTH)

    def _missing(self, what: str, next_step: str) -> FleetError:
        """What is not known may exist for as long as Kubernetes has not been read once."""
        if self._store.complete:
            return NotFound(f"there is no {what}", next_step=next_step)
        away = next((f" ({one.why})" for one in self._store.sources.unavailable if one.name == KUBERNETES), "")
        return NotReadYet(
            f"Kubernetes has not been read yet{away}, so {what} is not known",
            next_step="wait: this page asks again by itself",
        )

    def _device(self, name: str) -> object:
        known = self._store
        device = known.devices.get(name)
        if device is None:
            raise self._missing(f"device {name}", "see the list of devices")
        said = known.workloads(name)
        entries = history(device, said, known.tail.of(name), known.sources.gaps, _HISTORY_LENGTH)
        return device_screen(device, known.summaries[name], said, known.info(name), entries, self._namespace)


def _as_text(value: object) -> object:
    """What a template puts out: a text as text, also one from outside; markup of ours stays."""
    return one_line(value) if type(value) is str else value


def sentence(text: str) -> Markup:
    """A sentence of ours as markup: a capital first, a mark last, and what stands between backticks as code."""
    whole = one_line(f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}")
    parts = (str(escape(part)) for part in whole.split("`"))
    return Markup("".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)))  # noqa: S704
