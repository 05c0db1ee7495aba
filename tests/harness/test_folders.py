"""A world's folder and ports: nobody else's are ever touched."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.engine import dockerd
from harness.errors import HarnessError, PortTaken
from harness.processes import ports
from harness.processes.ports import Ports, free_port, is_free
from harness.wait import wait_until
from harness.world import folders


def test_a_sweep_removes_what_dead_runs_left_and_nothing_else() -> None:
    """A free lock marks the dead; what they left running is killed first."""
    alive, lock = folders.create()
    dead, dead_lock = folders.create()
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "FLEET_WORLD": str(dead)}) as left:
        wait_until(lambda: left.pid in folders.members(dead), "it is seen as a member", timeout=30)
        dead_lock.close()
        folders.sweep()
        assert left.wait(5) == -9
    assert not dead.exists()
    assert alive.is_dir()
    lock.close()
    folders.remove(alive)


def test_a_folder_without_a_lock_is_left_alone() -> None:
    """It is being made at this moment, or not ours."""
    unknown = folders.parent() / "unknown"
    unknown.mkdir()
    folders.sweep()
    assert unknown.is_dir()
    unknown.rmdir()


def test_a_deep_temporary_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do; a socket's path would fail much later, and say less."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(HarnessError, match=r"(?s)is too long: a device's socket below it.*set TMPDIR"):
        folders.create()
    assert list(folders.parent().iterdir()) == []


def test_the_folder_of_worlds_is_private() -> None:
    """It holds keys and tokens."""
    assert folders.parent().stat().st_mode & 0o077 == 0


def test_two_worlds_have_no_port_in_common() -> None:
    """Also when the first has not bound any of them yet."""
    first, second = Ports.acquire(), Ports.acquire()
    mine = {first.take() for _ in range(5)}
    theirs = {second.take() for _ in range(5)}
    assert len(mine) == len(theirs) == 5
    assert not mine & theirs
    first.release()
    second.release()


def test_two_worlds_have_no_port_in_common_below_temporary_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ports are the machine's, whatever folder a world lives in."""
    only_one_block(monkeypatch)
    first = Ports.acquire()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(HarnessError, match="all 1 blocks of ports"):
        Ports.acquire()
    first.release()
    Ports.acquire().release()


def test_two_engines_have_no_slot_in_common_below_temporary_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second would remove the bridge of the first."""
    with dockerd._slot() as first:  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with dockerd._slot() as second:  # pyright: ignore[reportPrivateUsage]
            assert first != second


def test_a_block_in_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a kept world's, whose servers come back on ports that nobody has for a moment."""
    first = only_one_block(monkeypatch)
    with socket.create_server(("127.0.0.1", first + 7)), pytest.raises(HarnessError, match="all 1 blocks of ports"):
        Ports.acquire()
    Ports.acquire().release()


def only_one_block(monkeypatch: pytest.MonkeyPatch) -> int:
    """The first port of the only block that there is; nobody uses it now."""
    block = Ports.acquire()
    first = block.take() - 1
    block.release()
    monkeypatch.setattr(ports, "_FIRST", first)
    monkeypatch.setattr(ports, "_LAST", first + 1)
    return first


def test_a_port_that_a_stranger_has_is_passed_over() -> None:
    """A block is ours against other worlds only."""
    block = Ports.acquire()
    taken = block.take()
    with socket.create_server(("127.0.0.1", taken + 1)):
        assert not is_free(taken + 1)
        assert block.take() == taken + 2
    block.release()


def test_a_used_up_block_says_so() -> None:
    """Rather than take a port of somebody else's block."""
    block = Ports.acquire()
    with pytest.raises(PortTaken, match=r"no port is left in \d+ to \d+"):
        list(iter(block.take, None))
    block.release()


def test_ports_lie_below_those_of_outgoing_connections() -> None:
    """Or the kernel could give a stopped server's port away."""
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert first_outgoing >= ports._LAST  # pyright: ignore[reportPrivateUsage]


def test_ports_that_belong_to_no_world_are_given_once_and_lie_below_those_of_outgoing_connections() -> None:
    """A port that the kernel chose may go to an outgoing connection while the server that had it is restarted."""
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == len(given)
    assert max(given) < ports._LAST  # pyright: ignore[reportPrivateUsage]
    block = Ports.acquire()
    assert block.take() not in given
    block.release()


def test_logs_that_a_message_named_stay_when_the_world_is_removed() -> None:
    """A person reads the message after the run, when the world is gone."""
    root, lock = folders.create()
    (root / "logs").mkdir()
    named = folders.logs_to_read(root)
    assert folders.logs_to_read(root) == named
    (root / "logs" / "etcd.log").write_text("the cause")
    assert (named / "etcd.log").read_text() == "the cause"
    lock.close()
    folders.remove(root)
    assert (named / "etcd.log").read_text() == "the cause"
    os.utime(named, (0, 0))
    folders.sweep()
    assert not named.exists()


def test_a_world_whose_logs_nobody_named_leaves_none() -> None:
    root, lock = folders.create()
    (root / "logs").mkdir()
    lock.close()
    folders.remove(root)
    assert not (root.parent / "logs" / root.name).exists()
