"""The emulated board: what describes it, and what a person is told when it does not boot."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.artifacts.layer import Target
from harness.devices.lab_file import read_lab
from harness.devices.ssh import SshDevice
from harness.devices.vm import board as module
from harness.devices.vm.board import main
from harness.devices.vm.guest import Guest
from tests.support.ssh import SshServer, make_home


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """In place of the board: a server for SSH beside a program that does nothing."""
    key, client_key = make_home(tmp_path)
    server = SshServer(key, client_key, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    server.start()
    host_key = f"{key.get_name()} {key.get_base64()} host"
    made = Guest(tmp_path / "disk", tmp_path / "kernel", tmp_path / "initrd", tmp_path / ".ssh" / "id_ecdsa", host_key)

    def guest(_architecture: str) -> Guest:
        return made

    monkeypatch.setattr(module, "guest", guest)
    monkeypatch.setattr(module, "free_port", lambda: server.port)
    monkeypatch.setattr(module, "_QEMU", ("sh", "-c", "exec sleep 1000"))
    yield server
    server.stop()


@pytest.fixture
def equipped(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """For which machines agents were put there."""
    found: list[Target] = []

    def ensure(_device: SshDevice, target: Target, _folder: Path) -> None:
        found.append(target)

    monkeypatch.setattr(module, "ensure_agent", ensure)
    return found


def test_a_command_finds_a_board_that_is_nothing_but_an_ssh_host_in_a_lab(
    server: SshServer, equipped: list[Target], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.json"
    keep = f"import shutil, sys; shutil.copyfile(sys.argv[1], {str(copy)!r}); sys.exit(7)"
    assert main([sys.executable, "-c", keep, "{lab}"]) == 7
    assert equipped == [Target(("aarch64",), ("3.11",))]
    lab = read_lab(copy)
    assert lab.kinds == {"pi"}
    (board,) = lab.boards.values()
    assert (board.host, board.user, board.port, board.architecture) == ("127.0.0.1", "pi", server.port, "aarch64")
    assert board.socket is None


@pytest.mark.usefixtures("server", "equipped")
def test_a_board_that_does_not_boot_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_QEMU", ("sh", "-c", "echo 'Kernel panic: no disk'; exit 1"))

    def answers(_device: SshDevice) -> bool:
        return False

    monkeypatch.setattr(module, "_answers", answers)
    assert main(["true"]) == 2
    said = capsys.readouterr().err
    assert "the board ended with code 1" in said
    assert "Kernel panic: no disk" in said
