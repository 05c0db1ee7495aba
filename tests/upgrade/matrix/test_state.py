"""Row 39: what is on disk was written by a newer agent than the one that is ordered."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from fleet.contract.upgrade import EXIT_STATE_TOO_NEW, STATE_SCHEMA, UpgradePhase, UpgradeReason
from harness.wait import wait_until
from tests.upgrade.matrix.conftest import NEW, OLD, MakeLab, Publish
from tests.upgrade.matrix.faulty import faulty
from tests.upgrade.matrix.lab import Lab

pytestmark = pytest.mark.matrix

COMMITTED, REFUSED = UpgradePhase.COMMITTED, UpgradePhase.REFUSED
FINDS_NEWER_STATE = (
    "import sys\nif '--version' in sys.argv: print('fleet-agent {version}'); sys.exit(0)\n"
    f"if '--self-test' in sys.argv: print('state FAILED'); sys.exit({EXIT_STATE_TOO_NEW})\n"
)


def raise_form(path: Path) -> bytes:
    """Leave a file as an agent that does not exist yet would have written it."""
    path.write_bytes(json.dumps({**json.loads(path.read_bytes()), "schema": STATE_SCHEMA + 98}).encode())
    return path.read_bytes()


def is_untouched(device: Lab) -> None:
    assert device.units() == [OLD], "something was started"
    assert device.starts(OLD) == 1, "the running agent was touched"
    assert device.watch.infos[-1].agent_version == OLD


def test_row_39_desired_state_newer_than_the_version(lab: MakeLab) -> None:
    """Refused, on disk or not; the agent that runs goes on, and so do the workloads when it is started anew on it."""
    device = lab(NEW)
    desired = device.host.root / "var/lib/fleet/desired.json"
    newer = raise_form(desired)
    device.order(NEW)
    device.ends(REFUSED, UpgradeReason.STATE_TOO_NEW)
    is_untouched(device)
    assert desired.read_bytes() == newer, "the newer state was overwritten"
    device.signal(OLD, signal.SIGKILL)
    device.logged(OLD, "a newer agent wrote the desired state on disk")
    wait_until(desired.read_bytes, "it has its own state again", timeout=60, until=lambda data: data != newer)
    device.judge(silence=None)
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)


def test_row_39_journal_newer_than_the_version(lab: MakeLab) -> None:
    device = lab()
    path = device.disk.store.journal
    before, newer = path.read_bytes(), raise_form(path)
    device.order(NEW)
    device.ends(REFUSED, UpgradeReason.STATE_TOO_NEW)
    is_untouched(device)
    assert path.read_bytes() == newer, "the newer journal was overwritten"
    assert not device.disk.store.home(NEW).exists(), "it was fetched all the same"
    path.write_bytes(before)
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge()


def test_row_39_the_candidate_says_that_it_cannot_read_the_state(
    lab: MakeLab, published: Publish, tmp_path: Path
) -> None:
    """Whatever its manifest says of it; that speaks of the device, so the version is not remembered as a bad one."""
    device = lab()
    older = faulty(published, tmp_path, FINDS_NEWER_STATE)
    device.order(older)
    device.ends(REFUSED, UpgradeReason.STATE_TOO_NEW)
    is_untouched(device)
    assert device.journal().bad == ()
    device.judge()
