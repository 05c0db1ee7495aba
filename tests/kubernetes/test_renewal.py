"""A rotation changes the files of pods, and nothing that only the announcement asks for."""

from __future__ import annotations

import pytest

from fleet.contract.errors import Conflict
from fleet.topology.capabilities import Preview
from fleet.topology.kubernetes.pods import DIGEST
from fleet.topology.kubernetes.renewal import require_only_files

FILES = (
    Preview("Secret fleet-nats", "change", ("data.nats.json: (secret) → (secret)",)),
    Preview("StatefulSet fleet-nats", "change", (f'spec.template.metadata.annotations.{DIGEST}: "a" → "b"',)),
    Preview("Deployment fleet-callout", "keep"),
)


def test_other_files_are_what_it_is_about() -> None:
    require_only_files(FILES)


@pytest.mark.parametrize(
    "other",
    [
        Preview(
            "Deployment fleet-callout",
            "change",
            ('spec.template.spec.containers[callout].image: "fleet:1" → "evil:1"',),
        ),
        Preview("Service fleet-nats", "create"),
        Preview("PodDisruptionBudget fleet-nats", "remove"),
        Preview("StatefulSet fleet-nats", "change", (*FILES[1].fields, "spec.replicas: 1 → 3")),
    ],
    ids=lambda item: f"{item.action}-{item.name.split()[0]}",
)
def test_anything_else_is_refused_and_named(other: Preview) -> None:
    with pytest.raises(Conflict, match="does not run as its announcement says") as refused:
        require_only_files((*FILES, other))
    assert other.name in refused.value.more[0]
    assert "annotations" not in str(refused.value.more)
