"""A named pipe in a folder of the agent's is no file: whoever opened it would wait for its writer without end."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import fleet
from fleet.agent.kept_seals import KeptSeals
from fleet.agent.kept_specs import KeptSpecs
from fleet.agent.policy import read_policy
from fleet.agent.record import read_record, write_record
from fleet.agent.replaced import Replaced
from fleet.agent.state import Store
from fleet.agent.upgrade.device.files import sync_tree, tree_digest
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.contract.config import read_whole
from fleet.contract.names import AgentVersion
from fleet.contract.owner import Owner
from fleet.launcher.launcher import Device
from fleet.process.durable import replace_file
from fleet.process.plain_file import open_lock


class _Note(msgspec.Struct):
    text: str = ""


def _refused(act: Callable[[], object]) -> str:
    with pytest.raises(OSError, match=r"\[Errno") as refused:
        act()
    return type(refused.value).__name__


READERS: dict[str, tuple[str, Callable[[Path], object], object]] = {
    "the desired state": ("a", lambda path: Store(path).load(), None),
    "a record": ("a", lambda path: read_record(path, _Note), _Note()),
    "a container's spec": ("web/1", lambda path: KeptSpecs(path.parent.parent).get("web", "1"), None),
    "what is sealed": ("web/1", lambda path: KeptSeals(path.parent.parent).get("web", "1"), None),
    "former identities": ("a", lambda path: Replaced(path, Owner("pi-1", "s")).owners, []),
    "the policy": ("a", lambda path: _refused(lambda: read_policy(path)), "NoPlainFileError"),
    "a version's tree": (
        "a",
        lambda path: _refused(lambda: tree_digest(path.parent, compiled=True)),
        "NoPlainFileError",
    ),
    "a tree, synced": ("a", lambda path: _refused(lambda: sync_tree(path.parent)), "OSError"),
    "the journal, to the launcher": (
        "var/lib/fleet/agent/journal.json",
        lambda path: Device(path.parents[4]).journal(),
        None,
    ),
    "a marker, to the launcher": (
        "var/lib/fleet/agent/versions/v1.0.0/verified",
        lambda path: Device(path.parents[6]).marked(),
        [],
    ),
    "a marker": (
        "var/lib/fleet/agent/versions/v1.0.0/verified",
        lambda path: VersionStore(path.parents[6]).marker(AgentVersion("v1.0.0")),
        None,
    ),
}
WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a draft": (".note.new", lambda path: _refused(lambda: replace_file(path.with_name("note"), b"x", 0o600))),
    "the draft of a record": ("note.new", lambda path: write_record(path.with_name("note"), _Note("x"))),
    "a lock": ("note", lambda path: open_lock(path).close()),
}


@pytest.mark.parametrize("what", READERS)
def test_nothing_waits_for_what_a_pipe_would_say(what: str, tmp_path: Path) -> None:
    name, read, found = READERS[what]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    assert read(path) == found


@pytest.mark.parametrize("what", WRITERS)
def test_nothing_waits_for_who_would_read_a_pipe(what: str, tmp_path: Path) -> None:
    name, write = WRITERS[what]
    os.mkfifo(tmp_path / name)
    write(tmp_path / name)


def test_a_configuration_that_is_a_pipe_is_read_if_somebody_writes_it(tmp_path: Path) -> None:
    """As a shell's `<(...)` is; nobody waits for a writer that is not there."""
    path = tmp_path / "agent.json"
    os.mkfifo(path, 0o600)
    assert read_whole(path)[0] == b""
    reading, writing = os.pipe()
    os.write(writing, b"{}")
    os.close(writing)
    assert read_whole(Path(f"/dev/fd/{reading}"))[0] == b"{}"
    os.close(reading)


_WAYS = {"read_bytes", "read_text", "write_bytes", "write_text"}
_OF_THE_SYSTEM = {"machines.py", "info.py", "workload_files.py", "places.py"}
"""They read files of the kernel and of the distribution."""


def test_no_other_way_to_read_a_file_is_used() -> None:
    folder = Path(fleet.__file__).parent
    found: list[str] = []
    for path in sorted((folder / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {
                "read_bytes",
                "read_text",
                "write_bytes",
                "write_text",
            }:
                found.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open":
                owner = node.func.value
                if not (isinstance(owner, ast.Name) and owner.id == "os"):
                    found.append(f"{path.name}:{node.lineno}")
    assert [one for one in found if one.partition(":")[0] not in _OF_THE_SYSTEM] == []
