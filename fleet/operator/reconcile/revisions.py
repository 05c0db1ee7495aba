"""Which revisions of deployments are to be kept, and which go: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from fleet.contract.objects import FleetDeployment
from fleet.contract.revision import KEPT, Revision, same_revision
from fleet.operator.reconcile.snapshot import deleting


def missing(deployment: FleetDeployment, revisions: Iterable[Revision]) -> bool:
    """Whether the deployment as it is has to be kept; `revisions` are those of its name."""
    own = _own(deployment, revisions)
    return not deleting(deployment) and not (own and same_revision(own[-1].spec, deployment.spec))


def surplus(
    deployment: FleetDeployment | None, revisions: Sequence[Revision], unread: Collection[str] = ()
) -> list[Revision]:
    """Those of one name that go: the oldest beyond the bound, and all of a deployment that is gone.

    What belongs to a deployment that cannot be read, as `unread` names it, stays.
    """
    own = [] if deployment is None or deleting(deployment) else _own(deployment, revisions)
    if deployment is None and any(revision.deployment in unread for revision in revisions):
        return []
    return [revision for revision in revisions if revision not in own[-KEPT:]]


def by_name(revisions: Iterable[Revision]) -> dict[str, list[Revision]]:
    """The revisions of each name, whichever deployment had it."""
    by_deployment: defaultdict[str, list[Revision]] = defaultdict(list)
    for revision in revisions:
        by_deployment[revision.deployment].append(revision)
    return dict(by_deployment)


def _own(deployment: FleetDeployment, revisions: Iterable[Revision]) -> list[Revision]:
    """Its own, the oldest first."""
    own = [revision for revision in revisions if revision.owner == deployment.metadata.uid]
    return sorted(own, key=lambda revision: revision.revision)
