"""Row 34: a device whose clock is years off, by a library that tells its processes another time (libfaketime)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from fleet.install.first_agent import TEMPLATE, TEMPLATE_PATH
from harness.errors import HarnessError
from tests.upgrade.matrix.conftest import NEW, OLD, MakeLab
from tests.upgrade.matrix.lab import Lab

pytestmark = pytest.mark.matrix

COMMITTED, REFUSED = UpgradePhase.COMMITTED, UpgradePhase.REFUSED


class Clock:
    """The clock of one device's agents; the monotonic one is the machine's, as on a device whose date is set."""

    def __init__(self, device: Lab) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            raise HarnessError("libfaketime is not on this machine", next_step="apt-get install libfaketime")
        self._file = device.host.root / "etc/faketime"
        self.shows("+0")
        set_to = (
            f"LD_PRELOAD={found[0]} FAKETIME_TIMESTAMP_FILE={self._file}"
            " FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
        )
        unit = TEMPLATE.replace("[Service]\n", f"[Service]\nEnvironment={set_to}\n")
        device.host.write(TEMPLATE_PATH, unit.encode(), mode=0o644)
        for verb in (["daemon-reload"], ["restart", f"fleet-agent@{OLD}.service"]):
            assert device.host.run(["systemctl", *verb]).code == 0
        device.logged(OLD, '"event": "connected"', times=2)

    def shows(self, offset: str) -> None:
        """Set it; processes that run see it within a second."""
        draft = self._file.with_name("faketime.new")
        draft.write_text(f"{offset}\n")
        draft.replace(self._file)


@pytest.mark.parametrize("offset", ["+5y", "-5y"])
def test_row_34_clock_set_in_the_middle(offset: str, lab: MakeLab) -> None:
    """Deadlines are monotonic: nobody's time is over, or never over, because a date was set."""
    device = lab(NEW)
    clock = Clock(device)
    device.order(NEW)
    device.reports(UpgradePhase.STARTING)
    device.candidate_heard()
    clock.shows(offset)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)


@pytest.mark.parametrize("offset", ["+5y", "-5y", "+2h"])
def test_row_34_clock_wrong_before_the_candidate(offset: str, lab: MakeLab) -> None:
    """Nobody can log in, so the version is not to blame; it is the clock, and years spoil TLS, hours the token."""
    device = lab(NEW)
    clock = Clock(device)
    clock.shows(offset)
    device.order(NEW)
    told = device.ends(REFUSED, UpgradeReason.OTHER).message
    assert "clock" in told
    assert device.journal().bad == ()
    assert device.units() == [OLD]
    device.signal(OLD, signal.SIGKILL)
    device.logged(OLD, "clock")
    clock.shows("+0")
    device.await_online()
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)
