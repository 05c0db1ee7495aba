"""A board is one run's at a time: the next one waits and is told whose it is, and a holder that died holds nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from harness.devices import lease as module
from harness.devices.lease import Lease
from harness.errors import DeviceUnreachable, TargetUnavailable
from harness.wait import wait_until
from tests.support.ssh import SshServer, make_home

SUDO = '#!/bin/sh\nshift\nexec "$@"\n'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    """Function: a board where `sudo` needs no password."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sudo").write_text(SUDO)
    (tmp_path / "bin" / "sudo").chmod(0o755)
    key, client_key = make_home(tmp_path)
    made = SshServer(key, client_key, {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}, chatter="echo hello")
    made.start()
    yield made
    made.stop()


class Holder:
    """A run with a connection of its own."""

    def __init__(self, server: SshServer, folder: Path) -> None:
        self.client = paramiko.SSHClient()
        self.client.get_host_keys().add(f"[127.0.0.1]:{server.port}", server.key.get_name(), server.key)
        self.client.connect("127.0.0.1", server.port, "pi", pkey=server.client_key, allow_agent=False)
        transport = self.client.get_transport()
        assert transport is not None
        self.lease = Lease("pi-1", lambda: transport.open_session(timeout=10), str(folder / "lock"))


@pytest.fixture
def holders(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Holder, Holder]]:
    """Function: two runs that want one board."""
    monkeypatch.setattr(module, "_WAIT", 1.0)
    made = Holder(server, tmp_path), Holder(server, tmp_path)
    yield made
    for one in made:
        one.lease.end()
        one.client.close()


def test_the_second_is_told_who_has_it(holders: tuple[Holder, Holder]) -> None:
    first, second = holders
    first.lease.take()
    with pytest.raises(
        TargetUnavailable, match=rf"(?s)pi-1 is in use by .*process {os.getpid()}, since .*end that run"
    ):
        second.lease.take()
    assert not first.lease.lost


def test_the_second_has_it_as_soon_as_the_first_ends(
    holders: tuple[Holder, Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT", 20.0)
    first, second = holders
    first.lease.take()
    waiting = threading.Thread(target=second.lease.take)
    waiting.start()
    first.lease.end()
    waiting.join(20)
    assert not waiting.is_alive()
    monkeypatch.setattr(module, "_WAIT", 0.5)
    with pytest.raises(TargetUnavailable, match="in use"):
        first.lease.take()


def test_a_holder_that_died_holds_nothing(holders: tuple[Holder, Holder]) -> None:
    """Its connection ends with it; nobody says that the board is free."""
    first, second = holders
    first.lease.take()
    first.client.close()
    second.lease.take()


def test_a_holder_that_is_cut_off_loses_it(holders: tuple[Holder, Holder], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signs of life do not come, while its connection stands; it sees that it has lost the board."""
    monkeypatch.setattr(module, "_SILENCE", 0.3)
    first, second = holders
    first.lease.take()
    wait_until(lambda: first.lease.lost, "the board has ended it", timeout=30)
    second.lease.take()


def test_signs_of_life_keep_it(holders: tuple[Holder, Holder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    monkeypatch.setattr(module, "_SIGN", 0.05)
    first, second = holders
    first.lease.take()
    with pytest.raises(TargetUnavailable, match="in use"):
        second.lease.take()  # waits for twice the silence
    assert not first.lease.lost


def test_a_board_without_sudo_is_the_worlds_fault(holders: tuple[Holder, Holder], tmp_path: Path) -> None:
    (tmp_path / "bin" / "sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    with pytest.raises(DeviceUnreachable, match=r"(?s)pi-1 gives no lease: .*a password is required.*by hand"):
        holders[0].lease.take()
