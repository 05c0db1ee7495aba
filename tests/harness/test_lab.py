"""Machines that are lent: one device at a time, cleared before and after, and somebody's are left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import paramiko
import pytest

from harness.devices.lab import Lab, Pool, prepare_login
from harness.devices.ssh import Address, SshDevice
from harness.errors import TargetUnavailable
from harness.machines import hypervisor, machine
from harness.machines.guest import Guest
from tests.support.ssh import SshServer, make_home, make_known

SUDO = """#!/bin/sh
printf '%s\\n' "$*" >> "$HOME/sudo"
if [ -e "$HOME/refuses" ]; then echo "it runs an agent that no test run set up" >&2; exit 1; fi
"""
"""In place of the board's: what would be done is written down, and nothing is done to this machine."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sudo").write_text(SUDO)
    (tmp_path / "bin" / "sudo").chmod(0o755)
    return tmp_path


@pytest.fixture
def address(home: Path) -> Iterator[Address]:
    """Function: a board that answers over SSH, and on which nothing is ever really done."""
    key, client_key = make_home(home)
    server = SshServer(key, client_key, {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "HOME": str(home)})
    server.start()
    make_known(home, server)
    yield Address("127.0.0.1", "pi", home / ".ssh" / "id_ecdsa", home / ".ssh" / "known_hosts", server.port)
    server.stop()


def done(home: Path) -> str:
    return (home / "sudo").read_text()


def test_a_board_is_cleared_when_it_is_lent_and_when_it_comes_back(home: Path, address: Address) -> None:
    """It bears a mark in between, by which the next run knows that it may clear it."""
    pool = Pool(Lab(boards={"shelf-1": address}), None)
    board = pool.lend("pi-1")
    assert isinstance(board, SshDevice)
    assert "systemctl disable --now fleet-agent.service" in done(home)
    assert done(home).rstrip().endswith("touch /etc/fleet-test-run")
    board.give_back()
    assert done(home).rstrip().endswith("rm -f /etc/fleet-test-run")
    again = pool.lend("pi-2")
    assert isinstance(again, SshDevice)
    again.close()


def test_a_board_is_lent_to_one_device_at_a_time(address: Address) -> None:
    pool = Pool(Lab(boards={"shelf-1": address}), None)
    pool.lend("pi-1")
    with pytest.raises(TargetUnavailable, match="no machine is free for the device 'pi-2'; there are: board shelf-1"):
        pool.lend("pi-2")


def test_somebodys_board_is_left_alone(home: Path, address: Address) -> None:
    (home / "refuses").touch()
    with pytest.raises(TargetUnavailable, match="pi-1 cannot be used: it runs an agent that no test run set up"):
        Pool(Lab(boards={"shelf-1": address}), None).lend("pi-1")


def test_where_no_machine_is_free_a_process_serves_if_the_lab_says_so(address: Address) -> None:
    other = SshDevice("stand-in", address)
    pool = Pool(Lab(processes=True), lambda name: other if name == "pi-1" else SshDevice(name, address))
    assert pool.lend("pi-1") is other


def test_the_runs_shell_can_log_in_to_the_boards(tmp_path: Path, address: Address) -> None:
    """Their key lies where `ssh` and `fleet device setup --ssh` look for it, readable by nobody else."""
    prepare_login(Lab(boards={"shelf-1": address}), tmp_path / "shell")
    key = tmp_path / "shell" / ".ssh" / "id_ecdsa"
    assert key.read_bytes() == address.key.read_bytes()
    assert key.stat().st_mode & 0o077 == 0
    assert f"[127.0.0.1]:{address.port}" in (tmp_path / "shell" / ".ssh" / "known_hosts").read_text()


def test_two_keys_of_one_kind_are_refused(tmp_path: Path, address: Address) -> None:
    other = tmp_path / "other"
    paramiko.ECDSAKey.generate().write_private_key_file(str(other))
    second = Address("127.0.0.1", "pi", other, address.known_hosts)
    with pytest.raises(TargetUnavailable, match="two boards want different ecdsa-sha2-nistp256 keys"):
        prepare_login(Lab(boards={"shelf-1": address, "shelf-2": second}), tmp_path / "shell")


def test_a_machine_listens_on_loopback_only_and_writes_its_console_down(tmp_path: Path) -> None:
    guest = Guest(tmp_path / "disk", tmp_path / "vmlinuz", tmp_path / "initrd", tmp_path / "key", "")
    text = machine.DOMAIN.format(
        name="pi", guest=guest, overlay=tmp_path / "overlay", console=tmp_path / "console.log", port=20001
    )
    domain = ElementTree.fromstring(text)
    assert domain.get("type") == "qemu"
    assert domain.find("devices/serial/source").get("path") == f"{tmp_path}/console.log"  # type: ignore[union-attr]
    arguments = [it.get("value", "") for it in domain.iter("{http://libvirt.org/schemas/domain/qemu/1.0}arg")]
    assert "user,id=lan,hostfwd=tcp:127.0.0.1:20001-:22" in arguments


def test_without_qemu_the_error_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(
            TargetUnavailable, match=r"(?s)no virtual machine can run here: libvirtd, .*e2e-machines.sh as root"
        ),
        hypervisor.libvirtd(tmp_path),
    ):
        pass


def test_what_a_boards_shell_says_is_not_the_commands(tmp_path: Path) -> None:
    key, client_key = make_home(tmp_path)
    server = SshServer(key, client_key, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, chatter="echo hello")
    server.start()
    make_known(tmp_path, server)
    where = Address("127.0.0.1", "pi", tmp_path / ".ssh" / "id_ecdsa", tmp_path / ".ssh" / "known_hosts", server.port)
    board = SshDevice("pi-1", where)
    try:
        assert board.run(["printf", "%s", "out"]).stdout == "out"
        board.write(str(tmp_path / "file"), b"content", mode=0o640)
        assert board.read(str(tmp_path / "file")) == b"content"
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
        with pytest.raises(FileNotFoundError, match="none on pi-1"):
            board.read(str(tmp_path / "none"))
    finally:
        board.close()
        server.stop()
