"""The examination: what a new agent may do there, and that nothing of it outlives it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from fleet.agent.upgrade.device.examine import self_test
from fleet.agent.upgrade.protocol.journal import Release
from fleet.artifacts.refusal import Refusal
from fleet.contract.errors import FleetError
from fleet.contract.upgrade import EXIT_STATE_TOO_NEW, UpgradeReason
from fleet.contract.wire import AgentTarget
from harness.wait import wait_until
from tests.upgrade.device import HONEST, Device

HANGS = "import os, signal\nopen(os.environ['FLEET_ROOT'] + '/pid', 'w').write(str(os.getpid()))\nsignal.pause()\n"
LIES = "print('fleet-agent v6.6.6')\n"
FLOODS = "import sys\nline = 'x' * 65536\nwhile True:\n    sys.stdout.write(line)\n"
BREAKS = "raise SystemExit('no such module')\n"
FAILS = (
    "import sys\nif '--version' in sys.argv:\n    print('fleet-agent {version}')\nelse:\n    sys.exit('nats FAILED')\n"
)
TOO_OLD = (
    "import sys\nif '--version' in sys.argv:\n    print('fleet-agent {version}')\nelse:\n"
    f"    print('state FAILED')\n    sys.exit({EXIT_STATE_TOO_NEW})\n"
)
FORKS = (
    "import os, signal, sys\n"
    "if os.fork() == 0:\n"
    "    open(os.environ['FLEET_ROOT'] + '/pid', 'w').write(str(os.getpid()))\n"
    "    signal.pause()\n"
    "print('fleet-agent {version}')\n"
)
LOOKS = (
    "import os, sys\nprint('fleet-agent {version}')\n"
    "sys.exit(any(name in os.environ for name in ('PYTHONPATH', 'SHIV_EVIL')))\n"
)


def examine(device: Device, release: Release, *, own: bool = True, within: float = 60) -> None:
    async def running_agent() -> bool:
        return own

    asyncio.run(self_test(device.store, release, within, running_agent))


def refused(tmp_path: Path, code: str, within: float = 60) -> tuple[UpgradeReason, str]:
    device = Device(tmp_path)
    release = device.has("v1.0.0", code)
    with pytest.raises(Refusal) as caught:
        examine(device, release, within=within)
    assert len(caught.value.what) < 2000, "what it said is not carried along"
    return caught.value.reason, caught.value.what


def ended(tmp_path: Path) -> None:
    """The process that wrote its number is gone, or is a zombie of init's."""
    pid = (tmp_path / "pid").read_text()

    def gone() -> bool:
        try:
            return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True

    wait_until(gone, f"process {pid} ended", timeout=30)


def test_an_honest_one_passes(tmp_path: Path) -> None:
    device = Device(tmp_path)
    release = device.has("v1.0.0", HONEST)
    examine(device, release)
    assert device.store.flaw(release) == "", "it wrote nothing among its own files"


def test_one_that_hangs(tmp_path: Path) -> None:
    before = time.monotonic()
    reason, _ = refused(tmp_path, HANGS, within=2)
    assert reason is UpgradeReason.SELF_TEST_TIMED_OUT
    assert time.monotonic() - before < 30
    if (tmp_path / "pid").exists():
        ended(tmp_path)


def test_one_that_lies_about_its_version(tmp_path: Path) -> None:
    reason, what = refused(tmp_path, LIES)
    assert reason is UpgradeReason.SELF_TEST_WRONG_VERSION
    assert "v6.6.6" in what


@pytest.mark.parametrize(("code", "named"), [(FLOODS, "more than"), (BREAKS, "no such module"), (FAILS, "nats FAILED")])
def test_one_that_fails(tmp_path: Path, code: str, named: str) -> None:
    reason, what = refused(tmp_path, code)
    assert reason is UpgradeReason.SELF_TEST_FAILED
    assert named in what


def test_one_that_finds_state_of_a_newer_agent(tmp_path: Path) -> None:
    """It knows best, so the running agent is not asked."""
    reason, what = refused(tmp_path, TOO_OLD)
    assert reason is UpgradeReason.STATE_TOO_NEW
    assert not reason.condemns
    assert "state FAILED" in what


def test_one_whose_file_is_gone(tmp_path: Path) -> None:
    device = Device(tmp_path)
    release = device.has("v1.0.0")
    device.store.artifact(release.version).unlink()
    with pytest.raises(Refusal) as caught:
        examine(device, release)
    assert caught.value.reason is UpgradeReason.SELF_TEST_FAILED


def test_where_the_running_agent_would_fail_too_the_new_one_is_not_to_blame(tmp_path: Path) -> None:
    device = Device(tmp_path)
    release = device.has("v1.0.0", FAILS)
    with pytest.raises(FleetError, match="as well") as caught:
        examine(device, release, own=False)
    assert not isinstance(caught.value, Refusal)


def test_the_running_agent_examines_itself(tmp_path: Path) -> None:
    """This one has no configuration, which is no fault of the new version."""
    device = Device(tmp_path)
    release = device.has("v1.0.0", FAILS)
    with pytest.raises(FleetError, match="as well"):
        asyncio.run(device.disk.self_test(AgentTarget(release.version, release.digest, 1), 60))


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    device = Device(tmp_path)
    examine_forking(device)
    ended(tmp_path)


def examine_forking(device: Device) -> None:
    release = device.has("v1.0.0", FORKS)
    with pytest.raises(Refusal):
        examine(device, release, within=3)


def test_it_gets_nothing_of_the_agent_that_starts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("SHIV_EVIL", "1")
    device = Device(tmp_path)
    examine(device, device.has("v1.0.0", LOOKS))
