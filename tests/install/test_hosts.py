"""This machine and one over SSH: the same promises, proven on both."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from fleet.contract.errors import FleetError, InvalidInput, NotFound, NotPermitted, TimedOut, Unreachable
from fleet.secrets.file import FileSecretStore
from fleet.topology import host as module
from fleet.topology.capabilities import RunsCommands
from fleet.topology.host import LocalHost
from fleet.topology.ssh import SshHost
from tests.support.ssh import SshServer, make_home, make_known

SECRET = "do-not-show-me"


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """On the PATH of both hosts, before everything else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def server(tmp_path: Path, bin_folder: Path) -> Iterator[SshServer]:
    home = tmp_path / "home"
    server = SshServer(*make_home(home), env={"PATH": f"{bin_folder}:/usr/bin:/bin"})
    server.start()
    make_known(home, server)
    yield server
    server.stop()


@pytest.fixture
def ssh(server: SshServer) -> Iterator[SshHost]:
    with SshHost(f"root@127.0.0.1:{server.port}") as host:
        yield host


@pytest.fixture(params=["local", "ssh"])
def host(request: pytest.FixtureRequest) -> RunsCommands:
    return LocalHost(Path("/")) if request.param == "local" else request.getfixturevalue("ssh")


def script(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


CHATTER = "echo 'Welcome, pi!'; echo same; echo 'last login' >&2"


def test_what_a_login_shell_says_is_not_the_commands(server: SshServer, tmp_path: Path) -> None:
    server.chatter = CHATTER
    with SshHost(f"root@127.0.0.1:{server.port}") as host:
        assert host.execute(["printf", "%s", "out"]) == "out"
        target = str(tmp_path / "file")
        assert host.read(target) is None
        assert host.put(target, b"content", 0o600).changed
        assert host.read(target) == b"content"
        assert not host.put(target, b"content", 0o600).changed
        with pytest.raises(FleetError, match="code 3: no"):
            host.execute(["sh", "-c", "echo no >&2; exit 3"])


def test_a_login_shell_that_runs_nothing_is_told(server: SshServer) -> None:
    server.chatter = "echo 'This account is not available.'; exit 0"
    with SshHost(f"root@127.0.0.1:{server.port}") as host, pytest.raises(FleetError, match="account is not available"):
        host.read("/etc/hostname")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_folders_are_made_for_all_to_read_and_for_the_owner_to_write(
    host: RunsCommands, tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        host.put(str(tmp_path / "a/b/secret"), b"x", 0o600)
        FileSecretStore(tmp_path / "c/secrets")
    finally:
        os.umask(before)
    made = {path: stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b", "c", "c/secrets")}
    assert made == {"a": 0o755, "a/b": 0o755, "c": 0o755, "c/secrets": 0o700}
    assert stat.S_IMODE((tmp_path / "a/b/secret").stat().st_mode) == 0o600


def test_the_output_of_a_command(host: RunsCommands) -> None:
    assert host.execute(["printf", "%s", "a b'c\"$HOME"]) == "a b'c\"$HOME"


def test_a_failed_command_says_what_it_said(host: RunsCommands, bin_folder: Path) -> None:
    script(bin_folder, "systemctl", "echo 'Failed to enable unit: no bus' >&2; exit 5")
    with pytest.raises(FleetError, match=r"(?s)systemctl enable x.*code 5.*no bus"):
        host.execute(["systemctl", "enable", "x"])


def test_a_host_without_the_program(host: RunsCommands) -> None:
    with pytest.raises(NotFound, match="has no program systemctl-none"):
        host.execute(["systemctl-none"])


def test_a_command_that_hangs_is_given_up(host: RunsCommands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.3)
    with pytest.raises(TimedOut, match=r"did not end within 0\.3 s"):
        host.execute(["sleep", "30"])


def test_both_outputs_may_be_large(host: RunsCommands, bin_folder: Path) -> None:
    """Over SSH, whoever reads one to its end first waits for ever once the other's window (2 MiB) is full."""
    script(bin_folder, "chatter", "head -c 6000000 /dev/zero >&2; head -c 6000000 /dev/zero | tr '\\0' x")
    assert len(host.execute(["chatter"])) == 6000000


def test_a_file_is_put_whole_with_its_mode_and_its_folders(host: RunsCommands, tmp_path: Path) -> None:
    target = tmp_path / "etc/fleet/agent.json"
    content = bytes(range(256)) * 400
    assert host.put(str(target), content, 0o600).changed
    assert target.read_bytes() == content
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["agent.json"]


def test_an_equal_file_stays_untouched(host: RunsCommands, tmp_path: Path) -> None:
    target = tmp_path / "file"
    host.put(str(target), b"same", 0o644)
    before = target.stat()
    assert not host.put(str(target), b"same", 0o644).changed
    assert target.stat().st_ino == before.st_ino
    assert target.stat().st_mtime_ns == before.st_mtime_ns


def test_a_new_content_and_a_new_mode_are_changes(host: RunsCommands, tmp_path: Path) -> None:
    target = tmp_path / "file"
    host.put(str(target), b"one", 0o644)
    assert host.put(str(target), b"two", 0o644).changed
    assert target.read_bytes() == b"two"
    assert host.put(str(target), b"two", 0o600).changed
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_what_was_put_can_be_read(host: RunsCommands, tmp_path: Path) -> None:
    content = b"=\x00\xff\n"
    host.put(str(tmp_path / "file"), content, 0o600)
    assert host.read(str(tmp_path / "file")) == content
    assert host.read(str(tmp_path / "none")) is None


def test_an_empty_file(host: RunsCommands, tmp_path: Path) -> None:
    assert host.put(str(tmp_path / "file"), b"", 0o644).changed
    assert (tmp_path / "file").read_bytes() == b""
    assert host.read(str(tmp_path / "file")) == b""


def test_a_path_with_a_space_and_a_quote(host: RunsCommands, tmp_path: Path) -> None:
    target = tmp_path / "it's a folder" / "a file"
    assert host.put(str(target), b"x", 0o644).changed
    assert target.read_bytes() == b"x"


def test_a_folder_that_cannot_be_made_leaves_no_draft(host: RunsCommands, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FleetError, match="file/x"):
        host.put(str(tmp_path / "file" / "x"), b"secret", 0o600)
    assert (tmp_path / "file").read_text() == ""


def test_local_paths_are_below_the_root(tmp_path: Path) -> None:
    LocalHost(tmp_path).put("/etc/x", b"1", 0o644)
    assert (tmp_path / "etc/x").read_bytes() == b"1"
    assert LocalHost(tmp_path).execute(["sh", "-c", 'printf "$FLEET_ROOT"']) == str(tmp_path)


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder"):
        LocalHost(tmp_path / "none")


def test_a_broken_connection_does_not_leave_half_a_file(ssh: SshHost, server: SshServer, tmp_path: Path) -> None:
    target = tmp_path / "agent.json"
    target.write_bytes(b"old")
    server.cut_after = 5000
    with pytest.raises(Unreachable, match="lost the connection"):
        ssh.put(str(target), b"x" * 20000, 0o600)
    assert target.read_bytes() == b"old"


def test_secrets_travel_on_the_input_only(ssh: SshHost, server: SshServer, tmp_path: Path) -> None:
    ssh.put(str(tmp_path / "file"), SECRET.encode(), 0o600)
    assert (tmp_path / "file").read_text() == SECRET
    assert SECRET not in "\n".join(server.commands)


def test_root_needs_no_sudo(ssh: SshHost, bin_folder: Path, tmp_path: Path) -> None:
    script(bin_folder, "sudo", "echo 'sudo was called' >&2; exit 1")
    assert ssh.execute(["printf", "ok"]) == "ok"
    ssh.put(str(tmp_path / "file"), b"x", 0o600)


def test_another_user_acts_by_sudo(server: SshServer, bin_folder: Path, tmp_path: Path) -> None:
    script(bin_folder, "sudo", '[ "$1" = -n ] || exit 9; shift; export BY_SUDO=yes; exec "$@"')
    with SshHost(f"pi@127.0.0.1:{server.port}") as pi:
        assert pi.execute(["sh", "-c", "printf $BY_SUDO"]) == "yes"
        assert pi.put(str(tmp_path / "file"), b"x", 0o600).changed
        assert not pi.put(str(tmp_path / "file"), b"x", 0o600).changed


def test_a_sudo_that_wants_a_password(server: SshServer, bin_folder: Path) -> None:
    script(bin_folder, "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    with (
        SshHost(f"pi@127.0.0.1:{server.port}") as pi,
        pytest.raises(NotPermitted, match=r"wants a password for sudo\n.*let pi use sudo without one"),
    ):
        pi.execute(["systemctl", "daemon-reload"])


def test_an_unknown_host_key(server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "home/.ssh/known_hosts").write_text("")
    with pytest.raises(NotPermitted, match=r"not among the known hosts\n.*log in once with ssh"):
        SshHost(f"root@127.0.0.1:{server.port}").__enter__()


def test_another_host_key(server: SshServer, tmp_path: Path) -> None:
    make_known(tmp_path / "home", server, paramiko.ECDSAKey.generate())
    with pytest.raises(NotPermitted, match="another host key"):
        SshHost(f"root@127.0.0.1:{server.port}").__enter__()


def test_a_login_that_is_refused(server: SshServer, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "home/.ssh")
    make_home(tmp_path / "home")
    make_known(tmp_path / "home", server)
    with pytest.raises(NotPermitted, match="does not let us in"):
        SshHost(f"root@127.0.0.1:{server.port}").__enter__()


def test_nobody_listens(server: SshServer) -> None:
    server.stop()
    with pytest.raises(Unreachable, match=rf"cannot reach root@127\.0\.0\.1:{server.port}: Unable to connect"):
        SshHost(f"root@127.0.0.1:{server.port}").__enter__()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "@host",
        "user@",
        "user@host:",
        "user@host:0",
        "user@host:99999",
        "u@h:p",
        "-oProxyCommand=x@h",
        "a b@h",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidInput, match="user@host"):
        SshHost(text)


def test_an_address_is_not_contacted_before_the_with() -> None:
    assert str(SshHost("pi@device.invalid")) == "pi@device.invalid"
