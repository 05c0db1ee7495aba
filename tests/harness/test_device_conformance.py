"""One suite for every kind of device: a process, a board over SSH, a virtual machine (its power played)."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness.devices import Device, Disconnectable, HasClock, HasConsole, HasEngine, Killable, Pausable
from harness.devices.kinds import CAPABILITIES, refusals
from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.process import ProcessDevice
from harness.devices.ssh import Address, SshDevice
from harness.errors import CommandHung, DeviceUnreachable
from harness.targets.local import inherited
from tests.harness.test_machines import FakeDomain
from tests.harness.tiny import tiny_world
from tests.support.ssh import SshServer, make_home, make_known

SUDO = '#!/bin/sh\necho "asked: $*"\n'
Made = tuple[Device, str]
"""A device, and a folder on it that a test may write to."""


@contextlib.contextmanager
def process(folder: Path) -> Generator[Made]:
    del folder
    with tiny_world() as world:
        yield ProcessDevice(world.root, "pi-1", inherited(), "/run/engine.sock"), "/tmp"


@contextlib.contextmanager
def answering(folder: Path) -> Generator[Address]:
    """Where a board answers over SSH, on which `sudo` only says what it was asked."""
    (folder / "bin").mkdir()
    (folder / "bin" / "sudo").write_text(SUDO)
    (folder / "bin" / "sudo").chmod(0o755)
    key, client_key = make_home(folder)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    server = SshServer(key, client_key, {"PATH": path, "HOME": str(folder)}, chatter="echo hello; echo oh >&2")
    server.start()
    make_known(folder, server)
    yield Address("127.0.0.1", "pi", folder / ".ssh" / "id_ecdsa", folder / ".ssh" / "known_hosts", server.port)
    server.stop()


@contextlib.contextmanager
def board(folder: Path) -> Generator[Made]:
    with answering(folder) as address, contextlib.closing(SshDevice("pi-1", address)) as device:
        yield device, str(folder)


@contextlib.contextmanager
def machine(folder: Path) -> Generator[Made]:
    with (
        answering(folder) as address,
        contextlib.closing(LibvirtDevice("pi-1", Machine("vm", address), domain=FakeDomain())) as device,
    ):
        yield device, str(folder)


KINDS: dict[str, Callable[[Path], AbstractContextManager[Made]]] = {
    "process": process,
    "pi": board,
    "libvirt": machine,
}


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Module: a device of each kind, which is well again after each test."""
    with KINDS[request.param](tmp_path_factory.mktemp("host")) as found:
        yield found


def test_a_command_has_a_code_and_both_outputs_of_its_own(made: Made) -> None:
    """What a login shell says is not the command's."""
    done = made[0].run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_words_reach_it_unsplit(made: Made) -> None:
    words = ["two words", "$HOME", "a'b\"c", ""]
    assert made[0].run(["printf", "%s|", *words]).stdout == "".join(f"{word}|" for word in words)


def test_much_output_on_both_sides_ends(made: Made) -> None:
    done = made[0].run(["sh", "-c", "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero"])
    assert (len(done.stdout), len(done.stderr)) == (300_000, 300_000)


def test_a_command_that_does_not_end_is_the_worlds_fault(made: Made) -> None:
    with pytest.raises(CommandHung):
        made[0].run(["sleep", "1000"], timeout=0.3)
    assert made[0].run(["true"]).code == 0, "it answers afterwards"


def test_what_was_put_is_got(made: Made) -> None:
    device, folder = made
    data = bytes(range(256)) * 4096
    device.write(f"{folder}/file", data, mode=0o640)
    assert device.read(f"{folder}/file") == data
    device.write(f"{folder}/file", b"", mode=0o600)
    assert device.read(f"{folder}/file") == b""


def test_a_file_that_is_not_there_is_no_empty_one(made: Made) -> None:
    with pytest.raises(FileNotFoundError):
        made[0].read(f"{made[1]}/none")


def test_a_boot_has_an_id(made: Made) -> None:
    assert made[0].boot_id() == str(uuid.UUID(made[0].boot_id()))


def test_it_tells_of_itself(made: Made) -> None:
    assert all(isinstance(text, str) for text in made[0].logs().values())


def test_it_can_what_its_kind_can(made: Made) -> None:
    """What is promised before there is a device is what the device has, no more and no less."""
    device = made[0]
    every = (Killable, Pausable, HasEngine, HasClock, Disconnectable, HasConsole)
    can = [it for it in every if isinstance(device, it)]
    assert can == list(CAPABILITIES[device.kind])


def test_what_else_it_can(made: Made) -> None:
    """Its clock is set by its administrator; after its network was away it answers; its console speaks."""
    device, _ = made
    if isinstance(device, HasClock):
        device.set_clock(0)
    if isinstance(device, Disconnectable):
        device.disconnect()
        device.reconnect()
        assert device.run(["true"]).code == 0
    if isinstance(device, HasConsole):
        assert device.console() == "it boots"


def test_a_power_that_was_cut_answers_nothing(made: Made) -> None:
    """Where there is a switch; with power it answers again, and a process has booted anew."""
    device, _ = made
    if not isinstance(device, Killable):
        assert refusals([device.kind], {"observe": [Killable]}) == [
            f"observe needs a device whose power and agent can be cut, and a {device.kind} device is none"
        ]
        return
    before = device.boot_id()
    device.power_off()
    device.power_off()
    if device.kind == "process":
        with pytest.raises(DeviceUnreachable):
            device.run(["true"])
    device.power_on()
    assert device.run(["true"]).code == 0
    if device.kind == "process":
        assert device.boot_id() != before
