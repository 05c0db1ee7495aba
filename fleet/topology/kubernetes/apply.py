"""Objects made so: looked at first, all of them, and changed only if none is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from fleet.contract.errors import FleetError, InvalidInput, NotFound, Unreachable
from fleet.topology.capabilities import Applied, Json, Preview
from fleet.topology.kubernetes.checks import newer, refusal
from fleet.topology.kubernetes.compare import differences

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient


class Plan(msgspec.Struct, frozen=True):
    """What is to become of one object."""

    item: Json
    preview: Preview


class Applier:
    """Server-side apply, in two steps: plan, then carry out."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube

    def plan(self, objects: Sequence[Json]) -> list[Plan]:
        """What would become of each; the server judges them, and nothing is changed.

        Raises:
            FleetError: of the kind of the first refusal; the message has all of them.
        """
        plans: list[Plan] = []
        errors: list[FleetError] = []
        for item in objects:
            try:
                plans.append(Plan(item, self._look(item)))
            except FleetError as error:
                errors.append(error)
                if isinstance(error, Unreachable):
                    break
        if errors:
            raise _together(errors)
        return plans

    def carry_out(self, plans: Sequence[Plan]) -> list[Applied]:
        """Make the objects so, in order; an equal one is not written.

        Raises:
            FleetError: of any kind; what was done stays, and a repeat goes on from there.
        """
        done: list[Applied] = []
        for plan in plans:
            changed = plan.preview.action in {"create", "change"}
            if changed:
                self._write(plan)
            done.append(Applied(plan.preview.name, changed))
        return done

    def _write(self, plan: Plan) -> None:
        try:
            self._kube.apply([plan.item])
        except InvalidInput:
            # A port, say, that another install at the same moment has just been given, for this very object.
            if plan.preview.action != "create" or self._look(plan.item).action == "create":
                raise
            self._kube.apply([plan.item])

    def _look(self, item: Json) -> Preview:
        meta = item["metadata"]
        kind, name, namespace = item["kind"], meta["name"], meta.get("namespace", "")
        called = f"{kind} {name}"
        before = self._kube.find(kind, name, namespace)
        if before is not None:
            if why := refusal(before, item):
                raise why
            if newer(before, item):
                return Preview(called, "keep", ("it is of a later release, which serves this one too",))
        try:
            after = self._kube.put(item, dry_run=True)
        except NotFound:
            # The namespace is about to be made; what can be checked without it was.
            return Preview(called, "create")
        if before is None:
            return Preview(called, "create")
        fields = differences(before, after)
        return Preview(called, "change" if fields else "keep", tuple(fields))


def _together(errors: Sequence[FleetError]) -> FleetError:
    """One error of several: of the first one's kind, with every sentence once."""
    if len(errors) == 1:
        return errors[0]
    first, *others = dict.fromkeys(error.what for error in errors)
    steps = dict.fromkeys(error.next_step for error in errors)
    return type(errors[0])(first, next_step="; ".join(steps), more=others)
