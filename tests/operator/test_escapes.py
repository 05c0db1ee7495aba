"""What a device says goes escaped into conditions and status, which `kubectl` prints as they are."""

from __future__ import annotations

import msgspec

from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.nats.bus import Entry
from fleet.operator.feeds import shown_info
from fleet.operator.new_condition import NewCondition
from fleet.operator.reconcile.actions import Note
from fleet.operator.status import notes, settle
from tests.support.operator import INFO

EVIL = "\x1b[2J\nReady: True"
SHOWN = "\\x1b[2J\\nReady: True"


def test_a_condition_is_escaped_and_stays_as_it_is() -> None:
    claim = NewCondition("Ready", "False", "DevicesFailed", f"pi-1: {EVIL}")
    written = settle((), (claim,), 1, 0.0)
    assert written[0].message == f"pi-1: {SHOWN}"
    assert settle(written, (claim,), 1, 9.0) == written, "else the status would be written for ever"
    assert notes((), written, {"DevicesFailed": "Warning"}) == (Note("Warning", "DevicesFailed", f"pi-1: {SHOWN}"),)


def test_what_a_device_says_of_itself_is_escaped() -> None:
    upgrade = UpgradeStatus(1, UpgradePhase.REFUSED, UpgradeReason.NO_SPACE, EVIL)
    said = msgspec.structs.replace(INFO, os=EVIL, arch=EVIL, boot_id=EVIL, upgrade=upgrade)
    shown = shown_info(Entry("pi-1", said, 1))
    assert shown is not None
    assert shown.upgrade is not None
    assert [shown.os, shown.arch, shown.boot_id, shown.upgrade.message] == [SHOWN] * 4
    assert shown_info(Entry("pi-1", INFO, 1)) == INFO
