"""`fleet web`: the page is forwarded until Ctrl-C, whatever ends in between."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from fleet.cli import web as module
from fleet.contract.errors import InvalidInput
from fleet.contract.objects import ServerInfo
from tests.cli.conftest import Fleet

KUBECTL = """#!/bin/sh
echo started >> "$0.runs"
case $(wc -l < "$0.runs") in
1) echo 'Forwarding from 127.0.0.1:8443 -> 8443';;
2) echo 'error: the API server is away'; exit 1;;
*) echo 'Forwarding from 127.0.0.1:8443 -> 8443'
   until [ -e "$0.awaited.$$" ]; do sleep 0.02; done
   kill -INT $PPID; exec sleep 1000;;
esac
"""


TALKATIVE = """#!/bin/sh
echo 'Forwarding from 127.0.0.1:8443 -> 8443'
{ timeout 20 seq -f 'Handling connection for 8443 (%g)' 5000 && touch "$0.wrote"; }
until [ -e "$0.awaited.$$" ]; do sleep 0.02; done
kill -INT $PPID; exec sleep 1000
"""
"""One that writes more than a pipe holds, and waits for a reader no longer than 20 seconds."""


@pytest.fixture
def kubectl(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that loses its connection, then finds no API server, then forwards until its parent is ended by Ctrl-C."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(getattr(request, "param", KUBECTL))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(module, "_PAUSE", 0.01)

    class Awaited(subprocess.Popen[str]):
        """Ctrl-C comes while the command waits for it: a process that nobody knows yet would be left."""

        def wait(self, timeout: float | None = None) -> int:
            Path(f"{program}.awaited.{self.pid}").touch()
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Awaited)
    return program


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with a page that has no address of its own."""
    serves(monkeypatch, "")


def serves(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The server has a page at an address; empty for one that a port is forwarded to."""
    info = ServerInfo("https://id", "project", "client", "tls://nats:4222", "", "v0.1.0", "0a" * 8, web=True)
    info = msgspec.structs.replace(info, web_url=url)

    def installed(_kube: object, _namespace: str) -> ServerInfo:
        return info

    monkeypatch.setattr(module, "cluster", object)
    monkeypatch.setattr(module, "installed", installed)


def test_the_page_is_forwarded_again_when_kubectl_ends(fleet: Fleet, kubectl: Path) -> None:
    answer = fleet("web", "--no-browser", "--port", "8443")
    assert len(Path(f"{kubectl}.runs").read_text().splitlines()) == 3
    assert answer.out.splitlines()[0] == "https://localhost:8443"
    assert "it is forwarded again" in answer.err
    assert answer.code == 130


@pytest.mark.parametrize("kubectl", [TALKATIVE], indirect=True, ids=["talkative"])
def test_a_kubectl_that_writes_a_line_for_each_connection_is_read(fleet: Fleet, kubectl: Path) -> None:
    """One whose lines nobody reads waits for ever, and forwards nothing more."""
    answer = fleet("web", "--no-browser", "--port", "8443")
    assert answer.out.splitlines()[0] == "https://localhost:8443"
    assert (answer.code, Path(f"{kubectl}.wrote").exists()) == (130, True)


def test_a_first_kubectl_that_does_not_forward_is_told(fleet: Fleet, kubectl: Path) -> None:
    Path(f"{kubectl}.runs").write_text("started\n")
    answer = fleet("web", "--no-browser")
    assert answer.code != 0
    assert "the API server is away" in answer.err
    assert not answer.out


def test_a_page_with_an_address_of_its_own_is_not_forwarded_and_a_port_is_not_ignored(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    serves(monkeypatch, "https://fleet.example.org")
    answer = fleet("web", "--no-browser")
    assert (answer.code, answer.out.splitlines()[0]) == (0, "https://fleet.example.org")
    assert "nothing is forwarded, and this command ends" in answer.err
    refused = fleet("web", "--no-browser", "--port", "8443")
    assert (refused.code, refused.out) == (InvalidInput.exit_code, "")
    assert "https://fleet.example.org: no port of this machine is forwarded" in refused.err
    assert "next: leave --port out" in refused.err
