"""What this machine lacks is told at once, in one sentence with its next step."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys

import pytest

from harness.errors import TargetUnavailable
from harness.targets.machine_checks import LEAST_OPEN_FILES, check_machine


def checked(prefix: str) -> str:
    """What the check says in a process of its own that the shell prepared."""
    code = "from harness.targets.machine_checks import check_machine; check_machine(); print('sound')"
    argv = ["bash", "-c", f'{prefix} "$@"', "bash", sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def test_this_machine_is_sound() -> None:
    check_machine()


def test_a_soft_limit_of_open_files_is_raised() -> None:
    assert checked("ulimit -Sn 48; exec").strip() == "sound"


def test_a_hard_limit_of_open_files_is_told() -> None:
    said = checked("ulimit -n 48; exec")
    assert f"a process may open 48 files here, and a local world needs {LEAST_OPEN_FILES}" in said
    assert "ulimit -n" in said


def test_no_limit_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def limits(_: int) -> tuple[int, int]:
        return unlimited

    monkeypatch.setattr(resource, "getrlimit", limits)
    check_machine()


def test_a_loopback_that_is_down_is_told() -> None:
    said = checked("exec unshare --user --map-root-user --net")
    assert "127.0.0.1 cannot be reached" in said
    assert "ip link set lo up" in said


@pytest.mark.parametrize("found", [["10.1.2.3"], ["127.0.0.1", "10.1.2.3"], ["::1"], []])
def test_a_localhost_that_is_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch, found: list[str]) -> None:
    def resolve(*_: object, **__: object) -> list[object]:
        if not found:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(TargetUnavailable, match="localhost means") as raised:
        check_machine()
    assert "/etc/hosts" in str(raised.value)
