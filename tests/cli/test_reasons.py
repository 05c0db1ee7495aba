"""Every reason that a status can have is in the table, with what it means and what to do; the page is that table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.cli.reasons import DEPLOYMENTS, DEVICES, UPGRADES, VOLUMES, WORKLOADS, page
from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from fleet.contract.volumes import RemovalReason
from fleet.contract.wire import Phase, Reason

ROOT = Path(__file__).parents[2]
TABLES = {
    "workloads": WORKLOADS,
    "deployments": DEPLOYMENTS,
    "devices": DEVICES,
    "upgrades": UPGRADES,
    "volumes": VOLUMES,
}
_CAMEL = re.compile(r"[A-Z][a-z]+([A-Z][a-z]+)*\Z")
_NO_REASONS = frozenset(
    {
        *(phase.value for phase in Phase),
        # Kinds, types of conditions and of events, statuses, actions, and words of Kubernetes.
        *("Device", "FleetDeployment", "Event", "Status", "Secret", "Opaque", "TokenRequest", "Lease", "Node", "Pod"),
        *("ControllerRevision", "ServiceAccount", "Apply", "Update"),
        # Reasons of Events alone, which say what happened.
        *("GenerationOrdered", "WorkloadRemoved", "VolumeRemoved", "VolumeNotRemoved"),
        *("Enrolled", "Online", "Revoked", "Upgraded", "DuplicateIdentity", "InfoAccepted", "WorkloadTrouble"),
        *(
            "Ready",
            "Progressing",
            "Quarantined",
            "ClockDiffers",
            "BundleOutdated",
            "VolumesOrdered",
            "Action",
            "Any",
            "Authorization",
            "Snapshot",
            "Json",
        ),
        *("Normal", "Warning", "True", "False", "Unknown"),
    }
)


def literals() -> Iterator[tuple[str, str]]:
    """Every text in the operator, and in what the commands say of a status, that could be a reason."""
    sources = [*(ROOT / "fleet/operator").rglob("*.py"), *(ROOT / "fleet/cli").glob("*ing.py")]
    for source in [*sources, ROOT / "fleet/cli/workloads.py"]:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CAMEL.match(node.value):
                yield node.value, source.name


def test_every_reason_that_the_operator_gives_is_in_the_table() -> None:
    known = {reason for table in TABLES.values() for reason in table}
    missing = {(text, where) for text, where in literals() if text not in known | _NO_REASONS}
    assert not missing, "add these to fleet/cli/reasons.py, or here if they are no reasons"


def test_the_look_finds_reasons() -> None:
    """A test of the test."""
    found = {text for text, _ in literals()}
    assert {"AllReady", "HeartbeatMissed", "ImagesDiffer", "NatsSilent", "NotYetSeen", "NotBegun", "Ordered"} <= found


def test_every_reason_of_a_workload_is_in_the_table() -> None:
    assert {reason.value for reason in Reason} <= WORKLOADS.keys()


def test_every_reason_and_phase_of_an_upgrade_is_in_the_table() -> None:
    assert {word.value for word in (*UpgradeReason, *UpgradePhase)} <= UPGRADES.keys()


def test_every_end_of_an_order_to_remove_a_volume_is_in_the_table() -> None:
    assert {reason.value for reason in RemovalReason} == VOLUMES.keys()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_each_says_what_it_means_and_what_to_do(table: dict[str, object]) -> None:
    for reason, advice in table.items():
        assert _CAMEL.match(reason), reason
        means, next_step = str(getattr(advice, "means", "")), str(getattr(advice, "next_step", ""))
        assert len(means) > len("it runs"), reason
        assert len(next_step) >= len("wait"), reason


def test_no_reason_is_left_in_the_table_that_nobody_gives() -> None:
    words = (*Reason, *UpgradeReason, *UpgradePhase, *RemovalReason)
    given = {text for text, _ in literals()} | {one.value for one in words}
    for name, table in TABLES.items():
        assert table.keys() <= given, f"{name}: {table.keys() - given}"


def test_the_page_is_the_table() -> None:
    assert (ROOT / "docs/reasons.md").read_text() == page(), "run `make docs`"
