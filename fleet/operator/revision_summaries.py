"""What the web page receives of a deployment's revisions: no value that can hold a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from fleet.contract.change import noted
from fleet.contract.objects import DeploymentSpec
from fleet.contract.pod import images
from fleet.contract.printable import shortened
from fleet.contract.revision import Revision
from fleet.web.messages import RevisionSummary

_FIELDS = 20
"""Fields that are named as changed; a pod has many."""
_NAMED = ("containers", "initContainers")
"""Lists of a pod whose members have names."""


def revision_summaries(revisions: Iterable[Revision]) -> tuple[RevisionSummary, ...]:
    """The revisions of one deployment, the newest first."""
    ordered = sorted(revisions, key=lambda revision: revision.revision)
    before: list[Revision | None] = [None, *ordered]
    return tuple(
        _summary(revision, earlier) for earlier, revision in reversed(list(pairwise(before))) if revision is not None
    )


def _summary(revision: Revision, earlier: Revision | None) -> RevisionSummary:
    change = noted(revision.metadata.annotations, revision.revision)
    return RevisionSummary(
        number=revision.revision,
        made=revision.metadata.creation_timestamp,
        by=change.by if change else "",
        command=change.command if change else "",
        images=shortened(images(revision.spec.workload)),
        selector=shortened(str(revision.spec.selector)),
        strategy=str(revision.spec.strategy),
        changed=_changed(earlier.spec, revision.spec) if earlier is not None else (),
    )


def _changed(before: DeploymentSpec, after: DeploymentSpec) -> tuple[str, ...]:
    """The names of the fields that differ, and no value: an environment holds secrets."""
    former, present = _fields(before), _fields(after)
    names = sorted(name for name in former.keys() | present.keys() if former.get(name) != present.get(name))
    return tuple(names[:_FIELDS])


def _fields(spec: DeploymentSpec) -> dict[str, Any]:
    """Each field of a spec by its name; those of a pod's containers by the container's name, too."""
    whole: dict[str, Any] = msgspec.to_builtins(spec, enc_hook=str)
    workload: dict[str, Any] = whole.pop("workload")
    named: dict[str, Sequence[Mapping[str, Any]]] = {key: workload.pop(key, ()) for key in _NAMED}
    changed = whole | workload
    for members in named.values():
        for member in members:
            changed |= {f"{member['name']}: {key}": value for key, value in member.items()}
    return changed
