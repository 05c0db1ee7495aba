"""Secrets in files: nobody else reads them, and a damaged one is never made anew."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.secrets.file import FileSecretStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def never() -> bytes:
    raise AssertionError("the secret was made anew")


def test_nobody_else_can_read_it(folder: Path) -> None:
    FileSecretStore(folder).get_or_create("ca_key", lambda: b"value")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ca_key").stat().st_mode) == 0o600


def test_who_loses_the_race_gets_the_winners_value(folder: Path) -> None:
    store = FileSecretStore(folder)

    def make_while_another_wins() -> bytes:
        FileSecretStore(folder).get_or_create("xkey", lambda: b"winner")
        return b"loser"

    assert store.get_or_create("xkey", make_while_another_wins) == b"winner"
    assert [path.name for path in folder.iterdir()] == ["xkey"], "a draft was left behind"


def test_processes_at_once_agree(folder: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from fleet.secrets.file import FileSecretStore\n"
        "print('loaded', flush=True); sys.stdin.read()\n"
        "store = FileSecretStore(Path(sys.argv[1]))\n"
        "print([store.get_or_create(f's{n}', lambda: os.urandom(8).hex().encode()) for n in range(50)])"
    )
    installs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    pipes = [(install.stdin, install.stdout) for install in installs if install.stdin and install.stdout]
    assert [out.readline() for _, out in pipes] == ["loaded\n"] * 4
    for go, _ in pipes:
        go.close()
    outputs: list[str] = []
    for _, out in pipes:
        with out:
            outputs.append(out.read())
    assert [install.wait(20) for install in installs] == [0] * 4
    assert "b'" in outputs[0]
    assert len(set(outputs)) == 1


def test_an_empty_file_is_not_made_anew(folder: Path) -> None:
    FileSecretStore(folder)
    (folder / "s").touch(0o600)
    with pytest.raises(InvalidInput, match=r"the secret .*/s is empty\n.*restore it from a backup"):
        FileSecretStore(folder).get_or_create("s", never)
    assert (folder / "s").read_bytes() == b""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    FileSecretStore(folder).get_or_create("s", lambda: b"value")
    (folder / "s").chmod(mode)
    with pytest.raises(InvalidInput, match=rf"mode {mode:04o}\n.*chmod 600"):
        FileSecretStore(folder).get("s")


def test_a_folder_in_its_place_is_an_error_not_a_secret(folder: Path) -> None:
    FileSecretStore(folder)
    (folder / "s").mkdir()
    with pytest.raises(NotPermitted, match="cannot read the secret"):
        FileSecretStore(folder).get_or_create("s", never)


def test_a_file_where_the_folder_should_be(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(NotPermitted, match="cannot make"):
        FileSecretStore(folder)


def test_a_crash_before_the_link_leaves_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is visible under the secret's name is always whole: it appears by one link, after it was synced."""

    def power_cut(_source: object, _target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.link", power_cut)
    with pytest.raises(KeyboardInterrupt):
        FileSecretStore(folder).get_or_create("s", lambda: b"first")
    monkeypatch.undo()
    assert FileSecretStore(folder).get_or_create("s", lambda: b"second") == b"second"


def test_after_an_uninstall_with_all_data_nothing_is_left(folder: Path) -> None:
    store = FileSecretStore(folder)
    store.get_or_create("s", lambda: b"first")
    store.clear()
    assert not list(folder.iterdir())
    store.clear()
    assert store.get_or_create("s", lambda: b"second") == b"second"
