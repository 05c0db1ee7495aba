"""The file that a boot without a network lives from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.agent.desired_state import Deployment
from fleet.agent.problems import Problem
from fleet.agent.state import Saved, Store
from fleet.contract.wire import Container, Health, Port, Reason

SAVED = Saved(
    {
        "web": Deployment(3, Container(image="a", ports=(Port(80, 80),), health=Health(("true",)), env={"A": "b"})),
        "bad": Deployment(4, None, Problem(Reason.UNSUPPORTED_WORKLOAD, "vm")),
    },
    leaving=("old",),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "var/lib/fleet/desired.json")


def test_what_is_saved_is_loaded(store: Store) -> None:
    store.save(SAVED)
    assert Store(store.path).load() == SAVED


def test_the_file_is_private_and_alone(store: Store) -> None:
    store.save(SAVED)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert list(store.path.parent.iterdir()) == [store.path]


def test_nothing_is_loaded_where_nothing_was_saved(store: Store) -> None:
    assert store.load() is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"wishes": 3}', b"[]"])
def test_a_damaged_file_is_as_none(store: Store, content: bytes) -> None:
    store.path.parent.mkdir(parents=True)
    store.path.write_bytes(content)
    assert store.load() is None


def test_what_a_newer_agent_wrote_is_left_until_there_is_something_to_save(store: Store) -> None:
    store.save(SAVED)
    newer = store.path.read_bytes().replace(b'"schema":1', b'"schema":2')
    store.path.write_bytes(newer)
    assert Store(store.path).load() is None
    assert store.path.read_bytes() == newer


def test_what_was_saved_before_it_had_a_form(store: Store) -> None:
    store.path.parent.mkdir(parents=True)
    store.path.write_bytes(b'{"wishes":{}}')
    assert Store(store.path).load() == Saved({})


def test_the_same_is_written_once(store: Store) -> None:
    store.save(SAVED)
    written = store.path.stat().st_mtime_ns, store.path.stat().st_ino
    store.save(SAVED)
    assert (store.path.stat().st_mtime_ns, store.path.stat().st_ino) == written


def test_a_full_disk_leaves_the_old_content_and_no_draft(store: Store) -> None:
    store.save(SAVED)
    # The kernel's own full device.
    store.path.with_name(".desired.json.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        store.save(Saved({}))
    assert list(store.path.parent.iterdir()) == [store.path]
    assert Store(store.path).load() == SAVED
    store.save(Saved({}))
    assert Store(store.path).load() == Saved({})


def test_file_and_folder_are_synced_before_it_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    store.save(SAVED)
    assert synced == [str(store.path.with_name(".desired.json.new")), str(store.path.parent)]


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "desired.json"
    program = f"""
from pathlib import Path
from fleet.agent.state import Saved, Store
from fleet.agent.desired_state import Deployment
store, number = Store(Path({str(path)!r})), 0
while True:
    number += 1
    store.save(Saved({{f"name-{{number}}": Deployment(number)}}))
    if number == 20:
        print("going", flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert writer.stdout
    assert writer.stdout.readline() == b"going\n"
    writer.kill()
    writer.communicate()
    saved = Store(path).load()
    assert saved is not None
    assert len(saved.desired_state) == 1
