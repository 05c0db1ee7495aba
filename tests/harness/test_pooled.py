"""A machine of ours is acquired as its snapshot has it, and a revert that did not revert is found out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.ssh import Address
from harness.devices.vm.disk import VolatileDisk
from harness.devices.vm.pristine import PooledDevice, VolatileDomain
from harness.errors import TargetUnavailable
from tests.support.ssh import SshServer, make_home, make_known

SUDO = """#!/bin/sh
case "$*" in *urandom*) cat "$HOME/proof"; exit "$(cat "$HOME/code")";; esac
printf '%s\\n' "$*" > "$HOME/planted"
"""
"""In place of the machine's: what it proves is in a file, and what is planted is written down."""


class FakeDomain:
    """A machine that is always on."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def start(self) -> None:
        self.done.append("start")

    def destroy(self) -> None:
        self.done.append("destroy")

    def revert(self) -> None:
        self.done.append("revert")

    def is_on(self) -> bool:
        return True

    def await_off(self, seconds: float) -> bool:
        return True


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Function: a machine that answers over SSH, and on which nothing is ever really done."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sudo").write_text(SUDO)
    (tmp_path / "bin" / "sudo").chmod(0o755)
    (tmp_path / "code").write_text("0")
    key, client_key = make_home(tmp_path)
    server = SshServer(key, client_key, {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)})
    server.start()
    make_known(tmp_path, server)
    keys = tmp_path / ".ssh"
    yield Machine("vm", Address("127.0.0.1", "pi", keys / "id_ecdsa", keys / "known_hosts", server.port))
    server.stop()


def pooled(
    machine: Machine, seen: set[str], ready: list[LibvirtDevice], put_aside: Callable[[], str] | None = None
) -> tuple[PooledDevice, FakeDomain]:
    domain = FakeDomain()
    stand_in = cast("VolatileDomain", domain)
    return PooledDevice("pi-1", machine, domain=stand_in, seen=seen, ready=ready.append, put_aside=put_aside), domain


def test_each_use_begins_with_a_revert_that_is_proven(tmp_path: Path, machine: Machine) -> None:
    """What the next one must not find is planted then, and the speed is measured."""
    (tmp_path / "proof").write_text("aa\n")
    ready: list[LibvirtDevice] = []
    device, domain = pooled(machine, set(), ready)
    device.acquire()
    assert domain.done == ["revert"]
    assert "/etc/fleet-test-run" in (tmp_path / "planted").read_text()
    assert ready == [device]
    device.release()
    assert domain.done == ["revert", "destroy"]
    assert device.returned


def test_a_machine_that_is_kept_is_left_alone_and_counts_as_returned(machine: Machine) -> None:
    device, domain = pooled(machine, set(), [], lambda: "enter it")
    assert device.keep() == "enter it"
    assert device.returned
    device.release()
    assert domain.done == []


def test_beyond_the_most_that_are_kept_a_machine_is_released_as_ever(machine: Machine) -> None:
    device, domain = pooled(machine, set(), [])
    assert "is not kept" in device.keep()
    assert not device.returned
    device.release()
    assert domain.done == ["destroy"]


def test_something_of_the_former_use_is_found(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "proof").write_text("the file of the former use is there: 0a\n")
    (tmp_path / "code").write_text("1")
    device, _ = pooled(machine, set(), [])
    with pytest.raises(TargetUnavailable, match=r"(?s)pi-1 was not reverted to its snapshot.*the former use is there"):
        device.acquire()
    device.close()


def test_the_random_numbers_of_a_former_use_are_refused(tmp_path: Path, machine: Machine) -> None:
    """Else two devices would make the same keys."""
    (tmp_path / "proof").write_text("aa\n")
    seen: set[str] = set()
    first, _ = pooled(machine, seen, [])
    first.acquire()
    second, _ = pooled(machine, seen, [])
    with pytest.raises(TargetUnavailable, match="was not reverted"):
        second.acquire()
    for device in (first, second):
        device.close()


def test_without_nbdkit_the_error_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        TargetUnavailable, match=r"(?s)no disk for a virtual machine: nbdkit, .*e2e-machines.sh as root"
    ):
        VolatileDisk(tmp_path / "base", tmp_path, "pi")
