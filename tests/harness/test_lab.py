"""Machines of a lab: acquired by one device at a time, cleared before and after, and somebody's are left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import paramiko
import pytest

from harness.devices import Killable
from harness.devices.board import Board, BoardDevice, Socket, SwitchedBoard
from harness.devices.lab import Lab, Pool, prepare_login
from harness.devices.lab_file import read_lab
from harness.devices.vm import hypervisor, machine
from harness.devices.vm.guest import Guest
from harness.errors import DeviceUnreachable, TargetUnavailable
from tests.support.ssh import SshServer, make_home, make_known

SUDO = """#!/bin/sh
case "$*" in *flock*) echo "$6"; exec cat > /dev/null;; esac
case "$*" in *"image inspect"*) [ ! -e "$HOME/no-image" ]; exit;; esac
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
def address(home: Path) -> Iterator[Board]:
    """Function: a board that answers over SSH, and on which nothing is ever really done."""
    key, client_key = make_home(home)
    server = SshServer(key, client_key, {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "HOME": str(home)})
    server.start()
    make_known(home, server)
    yield Board("127.0.0.1", "pi", home / ".ssh" / "id_ecdsa", home / ".ssh" / "known_hosts", server.port)
    server.stop()


def done(home: Path) -> str:
    return (home / "sudo").read_text()


def test_a_board_is_cleared_when_it_is_acquired_and_when_it_is_released(home: Path, address: Board) -> None:
    """It bears a mark in between, by which the next run knows that it may clear it."""
    pool = Pool(Lab(boards={"shelf-1": address}), None)
    board = pool.acquire("pi-1")
    assert isinstance(board, BoardDevice)
    assert "systemctl disable --now fleet-agent.service" in done(home)
    assert done(home).rstrip().endswith("touch /etc/fleet-test-run")
    board.release()
    assert done(home).rstrip().endswith("rm -f /etc/fleet-test-run")
    again = pool.acquire("pi-2")
    assert isinstance(again, BoardDevice)
    again.close()


def test_a_board_is_acquired_by_one_device_at_a_time(address: Board) -> None:
    pool = Pool(Lab(boards={"shelf-1": address}), None)
    pool.acquire("pi-1")
    with pytest.raises(TargetUnavailable, match="no machine is free for the device 'pi-2'; there are: board shelf-1"):
        pool.acquire("pi-2")


def test_somebodys_board_is_left_alone(home: Path, address: Board) -> None:
    (home / "refuses").touch()
    with pytest.raises(TargetUnavailable, match="pi-1 cannot be used: it runs an agent that no test run set up"):
        Pool(Lab(boards={"shelf-1": address}), None).acquire("pi-1")


def test_a_board_of_another_architecture_is_refused_and_given_back(home: Path, address: Board) -> None:
    other = "aarch64" if os.uname().machine == "x86_64" else "x86_64"
    pool = Pool(Lab(boards={"shelf-1": msgspec.structs.replace(address, architecture=other)}), None)
    with pytest.raises(
        TargetUnavailable, match=rf"pi-1 is described as {other}, and it is \S+\s+next: correct `architecture`"
    ):
        pool.acquire("pi-1")
    assert done(home).rstrip().endswith("rm -f /etc/fleet-test-run")


def test_a_board_without_the_test_image_gets_it_of_a_busybox(home: Path, address: Board) -> None:
    (home / "no-image").touch()
    board = BoardDevice("pi-1", address)
    board.acquire()
    board.close()
    assert "load --input" in done(home)
    assert done(home).index("touch /etc/fleet-test-run") < done(home).index("load --input")


def test_a_socket_switches_a_boards_power(home: Path, address: Board) -> None:
    """By commands of this machine; the board can then be cut from its power, and says so before it is asked."""
    switch = home / "bin" / "switch"
    switch.write_text(f"#!/bin/sh\necho $1 >> {home}/switched\n")
    switch.chmod(0o755)
    described = msgspec.structs.replace(address, socket=Socket((str(switch), "on"), (str(switch), "off")))
    lab = Lab(boards={"shelf-1": described})
    assert Killable in lab.capabilities["pi"]
    assert Killable not in Lab(boards={"shelf-1": described, "shelf-2": address}).capabilities["pi"]
    board = Pool(lab, None).acquire("pi-1")
    assert isinstance(board, SwitchedBoard)
    killable: Killable = board
    killable.power_off()
    board.power_on()
    board.release()
    assert (home / "switched").read_text().split() == ["on", "off", "on", "on"]


def test_a_socket_that_does_not_switch_is_the_worlds_fault(address: Board) -> None:
    broken = Socket(("sh", "-c", "echo no such socket >&2; exit 3"), ("gone-program",))
    board = SwitchedBoard("pi-1", address, broken)
    with pytest.raises(DeviceUnreachable, match=r"(?s)power of pi-1 was not switched: sh: exit code 3: no such socket"):
        board.power_on()
    with pytest.raises(DeviceUnreachable, match="No such file"):
        board.power_off()


BOARD = "{host: h, user: u, key: key, known_hosts: hosts"
NO_WORDS = f"boards:\n  a: {BOARD}, socket: {{switch_on: [], switch_off: [x]}}}}\n"
ONE_WAY = f"boards:\n  a: {BOARD}, socket: {{switch_on: [x]}}}}\n"
SWITCHED = f"boards:\n  a: {BOARD}, socket: {{switch_on: [x, '1'], switch_off: [x, '0']}}}}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("boards:\n  a: 5\n", "line 2: boards.a: Expected an object, got a whole number"),
        (
            f"boards:\n  a: {BOARD}}}\n  b: {BOARD}, port: x}}\n",
            "line 3: boards.b.port: Expected a whole number, got a text",
        ),
        (
            f"boards:\n  a: {BOARD}, architecture: mips}}\n",
            "line 2: boards.a.architecture: 'mips' is none of the values",
        ),
        (
            f"boards:\n  a: {BOARD}, socket: {{switch_on: [x]}}}}\n",
            "line 2: boards.a.socket: the field `switch_off` is missing",
        ),
        (
            f"boards:\n  a: {BOARD}, socket: {{switch_on: [], switch_off: [x]}}}}\n",
            "line 2: boards.a.socket.switch_on: Expected a list",
        ),
        (f"boards:\n  a: {BOARD}, sockt: {{}}}}\n", "line 2: boards.a.sockt is unknown; did you mean socket?"),
        ("boards:\n  a: {user: u}\n", "line 2: boards.a: the field `host` is missing"),
        ("processes: maybe\n", "line 1: processes: Expected true or false, got a text"),
        ("{}", "describes no machine"),
        ("[]", "Expected an object, got a list"),
        ("boards: [", "it is not YAML"),
    ],
    ids=str,
)
def test_a_lab_that_is_wrong_is_refused_with_the_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "lab.yaml").write_text(text)
    with pytest.raises(TargetUnavailable, match=says):
        read_lab(tmp_path / "lab.yaml")


def test_a_lab_is_read_with_paths_beside_it(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        f"boards:\n  a: {BOARD}, socket: {{switch_on: [x, '1'], switch_off: [x, '0']}}}}\n"
    )
    board = read_lab(tmp_path / "lab.yaml").boards["a"]
    assert (board.key, board.known_hosts) == (tmp_path / "key", tmp_path / "hosts")
    assert board.socket == Socket(("x", "1"), ("x", "0"))
    with pytest.raises(TargetUnavailable, match="cannot be read"):
        read_lab(tmp_path / "none.yaml")


def test_where_no_machine_is_free_a_process_serves_if_the_lab_says_so(address: Board) -> None:
    other = BoardDevice("stand-in", address)
    pool = Pool(Lab(processes=True), lambda name: other if name == "pi-1" else BoardDevice(name, address))
    assert pool.acquire("pi-1") is other


def test_the_runs_shell_can_log_in_to_the_boards(tmp_path: Path, address: Board) -> None:
    """Their key lies where `ssh` and `fleet device setup --ssh` look for it, readable by nobody else."""
    prepare_login(Lab(boards={"shelf-1": address}), tmp_path / "shell")
    key = tmp_path / "shell" / ".ssh" / "id_ecdsa"
    assert key.read_bytes() == address.key.read_bytes()
    assert key.stat().st_mode & 0o077 == 0
    assert f"[127.0.0.1]:{address.port}" in (tmp_path / "shell" / ".ssh" / "known_hosts").read_text()


def test_two_keys_of_one_kind_are_refused(tmp_path: Path, address: Board) -> None:
    other = tmp_path / "other"
    paramiko.ECDSAKey.generate().write_private_key_file(str(other))
    second = Board("127.0.0.1", "pi", other, address.known_hosts)
    with pytest.raises(TargetUnavailable, match="two boards want different ecdsa-sha2-nistp256 keys"):
        prepare_login(Lab(boards={"shelf-1": address, "shelf-2": second}), tmp_path / "shell")


def test_a_machine_listens_on_loopback_only_and_writes_its_console_down(tmp_path: Path) -> None:
    guest = Guest(tmp_path / "disk", tmp_path / "vmlinuz", tmp_path / "initrd", tmp_path / "key", "")
    text = machine.DOMAIN.format(
        accelerator="qemu",
        processor="",
        name="pi",
        guest=guest,
        disk=tmp_path / "disk",
        console=tmp_path / "console.log",
        port=20001,
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
    where = Board("127.0.0.1", "pi", tmp_path / ".ssh" / "id_ecdsa", tmp_path / ".ssh" / "known_hosts", server.port)
    board = BoardDevice("pi-1", where)
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
