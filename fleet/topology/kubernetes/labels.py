"""How our objects are named and labelled: the rule by which they are found again, and nobody else's are touched."""

from __future__ import annotations

from fleet.topology.capabilities import Json

MANAGED = {"app.kubernetes.io/part-of": "fleet", "app.kubernetes.io/managed-by": "fleet"}
"""What every object carries that an install makes."""
COMPONENT = "app.kubernetes.io/component"


def meta(name: str, namespace: str, component: str = "") -> Json:
    """Metadata of one of our objects; `component` is the service it serves."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": MANAGED | ({COMPONENT: component} if component else {}),
    }


def pods_of(component: str) -> dict[str, str]:
    """The labels that select the pods of a service. Kubernetes refuses to change them once they are in use."""
    return {"app.kubernetes.io/part-of": "fleet", COMPONENT: component}


def named(component: str) -> str:
    """The name of a service's objects."""
    return f"fleet-{component}"
