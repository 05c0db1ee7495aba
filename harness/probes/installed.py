"""What an install has left, as a digest of each thing, to tell whether a second one changed anything."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from harness.processes.spec import ComponentStatus
from harness.world.world import World

_CORE = ("configmaps", "secrets", "serviceaccounts", "services")
_RBAC = ("roles", "rolebindings")
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True)
class Installed:
    """Kubernetes objects by version, generated secrets by digest, and running components by process."""

    objects: dict[str, str]
    secrets: dict[str, str]
    components: dict[str, str]

    def changes(self, after: Installed) -> list[str]:
        """What differs afterwards: names only, for a digest says nothing to a person."""
        before, now = self._all(), after._all()
        return sorted({name for name, _ in before.items() ^ now.items()})

    def _all(self) -> dict[str, str]:
        return {**self.objects, **self.secrets, **self.components}


def installed(world: World) -> Installed:
    """What is there now."""
    return Installed(_objects(world), _secrets(world.root / "secrets"), _components(world))


def _objects(world: World) -> dict[str, str]:
    paths = [
        *(f"/api/v1/namespaces/{world.namespace}/{plural}" for plural in _CORE),
        *(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}/{plural}" for plural in _RBAC),
        *(f"/apis/apps/v1/namespaces/{world.namespace}/{plural}" for plural in ("deployments", "statefulsets")),
        _CRDS,
    ]
    found: dict[str, str] = {}
    for path in paths:
        for item in (world.kube.get(path) or {}).get("items", []):
            metadata = item["metadata"]
            # The resource version of a Deployment or a CRD changes with its status; its generation does not.
            version = metadata.get("generation") or metadata["resourceVersion"]
            found[f"{path}/{metadata['name']}"] = f"{metadata['uid']} {version}"
    return found


def _secrets(folder: Path) -> dict[str, str]:
    """A local world keeps them in files; elsewhere they are Secrets, which are among the objects."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*")) if path.is_file()
    }


def _components(world: World) -> dict[str, str]:
    def life(status: ComponentStatus) -> str:
        return f"pid {status.pid}, start {status.starts}"

    return {name: life(status) for name, status in world.components().items() if status.side == "product"}
