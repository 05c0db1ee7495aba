"""The harness tells a wrong product from a broken world: a few planted faults; `make faults` plants all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError, Misused
from harness.faults import scratch
from harness.faults.fault import PATCHES, REPOSITORY, Fault, product_faults, read_patch
from harness.faults.play import longest
from harness.faults.verdict import Seen, pointed_at
from harness.faults.worlds import world_faults

QUICK = (
    "cli-takes-any-id",
    "configuration-readable-by-all",
    "callout-ignores-role",
    "nats-server-binary-missing",
    "disk-full",
    "etcd-lost-its-data",
)


def test_there_are_enough_of_each() -> None:
    assert len(product_faults()) >= 12
    assert len(world_faults()) >= 12
    names = [fault.name for fault in (*product_faults(), *world_faults())]
    assert len(set(names)) == len(names)
    assert set(QUICK) <= set(names)


@pytest.mark.parametrize("fault", product_faults(), ids=lambda fault: fault.name)
def test_a_patch_fits_the_code_as_it_is(fault: Fault) -> None:
    assert fault.patch is not None
    scratch.apply(fault.patch, REPOSITORY, check=True)
    assert all(path.parts[0] == "fleet" for path in scratch.touched(fault.patch)), "only the product is broken"


@pytest.mark.parametrize("name", QUICK)
def test_a_fault_is_seen_for_what_it_is(name: str) -> None:
    # In a process of its own: whatever it leaves behind must not be taken for what this one runs.
    argv = [sys.executable, "-m", "harness.faults", name]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_busy_machine_takes_longer_and_that_is_no_fault_that_was_missed() -> None:
    assert longest(0.0, 2) == longest(2.0, 2) == 180
    assert longest(20.0, 2) == 1800


def test_a_patch_without_a_header_is_refused(tmp_path: Path) -> None:
    patch = tmp_path / "x.patch"
    patch.write_text("Fault: something\n\n--- a/fleet/nats/bus.py\n")
    with pytest.raises(Misused, match="Component:"):
        read_patch(patch)


def test_a_patch_that_does_not_fit_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "cli").mkdir()
    (tmp_path / "fleet" / "cli" / "device.py").write_text("other code\n")
    with pytest.raises(HarnessError, match="make the patch anew"):
        scratch.apply(PATCHES / "cli-takes-any-id.patch", tmp_path, check=True)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("read: the log of callout (/tmp/w/logs/callout.log)", "log of callout"),
        ("read: the log of operator (/tmp/w/logs/operator.log)", ""),
        ("| $ fleet device enroll --device-id x", ""),
    ],
)
def test_a_report_must_point_at_the_part(message: str, words: str) -> None:
    fault = Fault("name", "sentence", "test", "product", "callout")
    assert pointed_at(fault, Seen("product", message)) == words
