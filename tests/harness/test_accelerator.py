"""KVM is used only where it was seen to boot something, and the time of that is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.devices.vm import accelerator as module
from harness.devices.vm.accelerator import processor
from harness.errors import TargetUnavailable
from harness.wait import stretched


def program(folder: Path, kvm: str, emulation: str = "echo 'Linux version 6.1'") -> str:
    """A QEMU that says and does this, by `-accel`."""
    path = folder / "qemu"
    path.write_text(f'#!/bin/sh\ncase "$2" in kvm) {kvm};; *) {emulation};; esac\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(module, "_LIMITS", {"kvm": 2, "qemu": 10})


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'Linux version 6.1'", "kvm"),
        ("echo 'Could not access KVM kernel module' >&2; exit 1", "qemu"),
        ("echo 'Linux version 6.1'; exit 1", "qemu"),
        ("echo SeaBIOS", "qemu"),
        ("exec sleep 1000", "qemu"),
    ],
    ids=["it boots", "refused", "it crashes", "no kernel", "it hangs"],
)
def test_only_a_kernel_that_came_up_proves_it(tmp_path: Path, script: str, found: str) -> None:
    assert processor(tmp_path / "vmlinuz", program(tmp_path, script), tmp_path).by == found


def test_without_the_device_kvm_is_not_tried(tmp_path: Path) -> None:
    assert processor(tmp_path, program(tmp_path, "touch tried"), tmp_path / "none").by == "qemu"
    assert not (tmp_path / "tried").exists()


def test_the_time_is_that_of_the_kernel_which_came_up(tmp_path: Path) -> None:
    """Not of the KVM that hung before it."""
    found = processor(tmp_path, program(tmp_path, "exec sleep 1000", "sleep 0.3; echo 'Linux version 6.1'"), tmp_path)
    assert 0.3 <= found.seconds < 2


def test_where_nothing_boots_the_error_holds_the_last_words(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match=r"(?s)no virtual machine boots here: .*no such file.*next: .*tcg"):
        processor(tmp_path, program(tmp_path, "exit 1", "echo 'no such file' >&2; exit 1"), tmp_path)


def test_a_slow_machine_has_more_time(tmp_path: Path) -> None:
    script = "sleep 2.5; echo 'Linux version 6.1'"
    with stretched(5):
        assert processor(tmp_path, program(tmp_path, script), tmp_path).by == "kvm"
