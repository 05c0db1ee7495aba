"""The Secrets that deployments name, as they were read last."""

from __future__ import annotations

from collections.abc import Callable

from fleet.contract.objects import FleetDeployment
from fleet.operator.objects import ObjectCache
from fleet.operator.reconcile.secrets import SecretProblem, SecretSeen, named, secret_contents


class KnownSecrets:
    """The known Secrets; `changed` is called with the name of each deployment that uses a changed one."""

    def __init__(self, deployments: ObjectCache[FleetDeployment], changed: Callable[[str], None]) -> None:
        self.found: dict[str, SecretSeen | SecretProblem] = {}
        self._deployments = deployments
        self._changed = changed

    def wanted(self) -> set[str]:
        """Those that deployments name now."""
        return {name for item in self._deployments.items.values() for name in _of(item)}

    def missing(self) -> set[str]:
        """Those of them of which nothing is known."""
        return self.wanted() - self.found.keys()

    def put(self, name: str, secret: SecretSeen | SecretProblem) -> bool:
        """Store a Secret, or why it cannot be read; returns whether that is new."""
        if self.found.get(name) == secret:
            return False
        self.found[name] = secret
        for deployment, item in self._deployments.items.items():
            if name in _of(item):
                self._changed(deployment)
        return True

    def doubt(self, deployment: str) -> None:
        """Forget what a changed deployment lacked: the change may have fixed it."""
        item = self._deployments.items.get(deployment)
        if item is not None and isinstance(secret_contents(item.spec.workload, self.found), SecretProblem):
            for name in _of(item) & self.found.keys():
                del self.found[name]

    def keep_wanted(self) -> None:
        """Forget the Secrets that no deployment names any more."""
        for name in self.found.keys() - self.wanted():
            del self.found[name]


def _of(item: FleetDeployment) -> frozenset[str]:
    workload = item.spec.workload
    return named(workload) if workload.takes_secrets else frozenset()
