"""How our objects are named and labelled: the rule by which they are found again, and nobody else's are touched."""

from __future__ import annotations

from fleet.topology.capabilities import Json

PART_OF = "app.kubernetes.io/part-of"
MANAGED = {PART_OF: "fleet", "app.kubernetes.io/managed-by": "fleet"}
"""What every object carries that an install makes."""
COMPONENT = "app.kubernetes.io/component"
LEASE, INVENTORY = "fleet-rotation", "fleet-inventory"
"""The names of what a rotation holds, and of the list of what an install has made."""


def meta(name: str, namespace: str, component: str = "") -> Json:
    """Metadata of one of our objects; `component` is the service it serves."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": MANAGED | ({COMPONENT: component} if component else {}),
    }


def pods_of(component: str) -> dict[str, str]:
    """The labels that select the pods of a service. Kubernetes refuses to change them once they are in use."""
    return {PART_OF: "fleet", COMPONENT: component}


def serves_us(item: Json) -> bool:
    """Whether an object belongs to one of our services, by its labels, however it was installed."""
    labels = item["metadata"].get("labels", {})
    return COMPONENT in labels and labels.get(PART_OF) == "fleet"


def is_ours(item: Json) -> bool:
    """Whether it does, and was made by an install of ours; helm puts its own name on what it makes."""
    return serves_us(item) and MANAGED.items() <= item["metadata"]["labels"].items()


def other_manager(item: Json) -> str:
    """Who else keeps an object as it is, in words; empty when nobody does."""
    annotations = item["metadata"].get("annotations", {})
    if release := annotations.get("meta.helm.sh/release-name"):
        return f"helm, as the release {release}"
    return "ArgoCD" if "argocd.argoproj.io/tracking-id" in annotations else ""


def component_of(item: Json) -> str:
    """The service that an object of ours serves."""
    return item["metadata"]["labels"][COMPONENT]


def many(node: Json, key: str) -> list[Json]:
    """A list in an object; Kubernetes leaves out empty ones, or writes null."""
    found: list[Json] | None = node.get(key)
    return found or []


def named(component: str) -> str:
    """The name of a service's objects."""
    return f"fleet-{component}"
