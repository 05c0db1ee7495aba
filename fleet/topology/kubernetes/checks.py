"""What is refused before anything is changed: what an object of ours may not be made of what is there. Pure."""

from __future__ import annotations

import re

from fleet.contract.errors import Conflict, FleetError, InvalidInput
from fleet.contract.objects import VERSION as API
from fleet.install.plan import RELEASE
from fleet.kube.client import MANAGER
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import many


def refusal(before: Json, item: Json) -> FleetError | None:
    """Why `item` cannot take the place of `before`, if so."""
    return _ending(before) or _foreign(before) or _unchangeable(before, item) or _unknown_versions(before)


def newer(before: Json, item: Json) -> bool:
    """Whether a definition is of a later release. Definitions only grow, so that one serves an earlier server too."""
    if item["kind"] != "CustomResourceDefinition":
        return False
    return _release(before) > _release(item)


def _ending(before: Json) -> FleetError | None:
    since = before["metadata"].get("deletionTimestamp")
    if since is None:
        return None
    left = [
        condition["message"]
        for condition in many(before.get("status", {}), "conditions")
        if condition["type"] in {"NamespaceContentRemaining", "NamespaceFinalizersRemaining"}
        and condition["status"] == "True"
    ]
    finalizers: list[str] = before["metadata"].get("finalizers", [])
    holding = left or [f"held by {name}" for name in finalizers]
    return Conflict(
        f"{_called(before)} is being deleted since {since}" + (f": {' '.join(holding)}" if holding else ""),
        next_step="wait until it is gone, or end what holds it, then repeat",
    )


def _foreign(before: Json) -> FleetError | None:
    meta = before["metadata"]
    entries = [entry for entry in many(meta, "managedFields") if not entry.get("subresource")]
    managers = [(entry["manager"], entry["operation"]) for entry in entries]
    ours = meta.get("labels", {}).get("app.kubernetes.io/part-of") == "fleet" or (MANAGER, "Apply") in managers
    # A namespace may well have been made for us by a cluster's admin.
    if ours or before["kind"] == "Namespace":
        return None
    owners = ", ".join(sorted({manager for manager, _ in managers})) or "nobody known"
    return Conflict(
        f"there is a {_called(before)} already, and it is not ours (made by: {owners})",
        next_step="rename or remove it, or install into another namespace with --namespace",
    )


def _unchangeable(before: Json, item: Json) -> FleetError | None:
    """A set's claims cannot be changed, and a lone server's streams do not become a cluster's, nor the reverse."""
    if item["kind"] != "StatefulSet":
        return None
    have, want = before["spec"], item["spec"]
    what = "the size or the class of its volumes" if _claims(have) != _claims(want) else ""
    if have["replicas"] != want["replicas"]:
        what = f"the number of its servers ({have['replicas']}, and {want['replicas']} are asked for)"
    if not what:
        return None
    return InvalidInput(
        f"{_called(before)} is there, and {what} cannot be changed",
        next_step="give the options that it was installed with, or uninstall with --delete-data first",
    )


def _claims(spec: Json) -> list[tuple[str, str]]:
    claims = [claim["spec"] for claim in many(spec, "volumeClaimTemplates")]
    return [(claim["resources"]["requests"]["storage"], claim.get("storageClassName", "")) for claim in claims]


def _unknown_versions(before: Json) -> FleetError | None:
    if before["kind"] != "CustomResourceDefinition":
        return None
    served = [version["name"] for version in before["spec"]["versions"] if version["served"]]
    if API in served:
        return None
    return Conflict(
        f"{_called(before)} serves {', '.join(served) or 'nothing'}, and this release needs {API}",
        next_step="use the release of fleet that it belongs to",
    )


def _called(item: Json) -> str:
    meta = item["metadata"]
    inside = f" in {meta['namespace']}" if "namespace" in meta else ""
    return f"{item['kind']} {meta['name']}{inside}"


def _release(item: Json) -> tuple[int, ...]:
    """Ordered as versions are; what says nothing is the oldest."""
    numbers = re.match(r"v(\d+)\.(\d+)\.(\d+)", item["metadata"].get("annotations", {}).get(RELEASE, ""))
    return tuple(map(int, numbers.groups())) if numbers else ()
