"""The Secrets that deployments name, as they were read last, and the deployments for which that may be too old."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from fleet.contract.objects import FleetDeployment
from fleet.operator.objects import ObjectCache
from fleet.operator.reconcile.secrets import SecretProblem, SecretSeen, named, secret_contents


@dataclass(frozen=True)
class Doubt:
    """It began at `mark`, and ends when the Secrets in `unread` were all read since."""

    mark: int
    unread: set[str]


class KnownSecrets:
    """The known Secrets; `changed` is called with the name of each deployment that uses a changed one.

    A deployment is in doubt from its change until its Secrets were read after that. Who orders a deployment may have
    corrected a Secret a moment before, and what was read before that is wrong for it.
    """

    def __init__(self, deployments: ObjectCache[FleetDeployment], changed: Callable[[str], None]) -> None:
        self.found: dict[str, SecretSeen | SecretProblem] = {}
        self._deployments = deployments
        self._changed = changed
        self._editions: dict[str, tuple[str, int]] = {}
        """The uid and the generation of each deployment with secrets, as it was seen last."""
        self._doubts: dict[str, Doubt] = {}
        self._marks = itertools.count()

    @property
    def doubts(self) -> Mapping[str, Doubt]:
        """The deployments in doubt."""
        return MappingProxyType(self._doubts)

    def mark(self) -> int:
        """A number for now: greater than that of every doubt, and than every earlier mark."""
        return next(self._marks)

    def wanted(self) -> set[str]:
        """Those that deployments name now."""
        return {name for item in self._deployments.items.values() for name in _of(item)}

    def missing(self) -> set[str]:
        """Those of which nothing is known, and those of deployments in doubt."""
        doubted = {name for doubt in self._doubts.values() for name in doubt.unread}
        return (self.wanted() - self.found.keys()) | doubted

    def lacks(self, deployment: str) -> bool:
        """Whether Secrets are to be read for one deployment. It costs the same however many others there are."""
        return deployment in self._doubts or bool(self._of(deployment) - self.found.keys())

    def put(self, name: str, secret: SecretSeen | SecretProblem) -> bool:
        """Store a Secret, or why it cannot be read; returns whether that is new."""
        if self.found.get(name) == secret:
            return False
        self.found[name] = secret
        for deployment, item in self._deployments.items.items():
            if name in _of(item):
                self._changed(deployment)
        return True

    def look(self, deployment: str) -> None:
        """A deployment is new, has changed or is gone. Doubt what is known for another generation of it."""
        item = self._deployments.items.get(deployment)
        if item is None or not item.spec.workload.takes_secrets:
            self._editions.pop(deployment, None)
            self._doubts.pop(deployment, None)
            return
        edition = (item.metadata.uid, item.metadata.generation)
        if self._editions.get(deployment) != edition:
            self._editions[deployment] = edition
            self._begin(deployment)

    def doubt(self, deployment: str) -> None:
        """Somebody wrote a deployment. If it lacks something, doubt that, also in the same generation."""
        item = self._deployments.items.get(deployment)
        if item is not None and isinstance(secret_contents(item.spec.workload, self.found), SecretProblem):
            self._begin(deployment)

    def settle(self, read: Set[str], mark: int) -> bool:
        """These Secrets were read since `mark`, which says more about older doubts only; returns whether any ended."""
        ended: list[str] = []
        for deployment, doubt in self._doubts.items():
            if doubt.mark < mark:
                doubt.unread.difference_update(read)
                ended += () if doubt.unread else (deployment,)
        for deployment in ended:
            del self._doubts[deployment]
            self._changed(deployment)
        return bool(ended)

    def keep_wanted(self) -> None:
        """Forget the Secrets that no deployment names any more."""
        for name in self.found.keys() - self.wanted():
            del self.found[name]

    def _begin(self, deployment: str) -> None:
        self._doubts[deployment] = Doubt(self.mark(), set(self._of(deployment)))

    def _of(self, deployment: str) -> frozenset[str]:
        item = self._deployments.items.get(deployment)
        return _of(item) if item is not None else frozenset()


def _of(item: FleetDeployment) -> frozenset[str]:
    workload = item.spec.workload
    return named(workload) if workload.takes_secrets else frozenset()
