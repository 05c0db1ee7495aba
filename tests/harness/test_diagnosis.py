"""A machine tells of a failed test in logs of the world, by our clock; one that is gone has its error there."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.devices.diagnosis import machine_logs, save_logs
from harness.devices.ssh import Address, SshDevice
from harness.scenario.command import Result
from reports.lines import parse
from tests.support.ssh import SshServer, make_home, make_known

SUDO = """#!/bin/sh
case "$*" in
*journalctl*) echo "1000000005.250000 pi fleet-agent[7]: connected"; echo "-- Boot 0a --";;
*) echo "asked: $*"; echo "no such unit" >&2; exit 4;;
esac
"""


def test_the_journal_is_shown_by_our_clock() -> None:
    """The machine's clock is years behind; the report's timeline reads the line with our time."""
    behind = 1_000_000_000.0

    def run(argv: list[str]) -> Result:
        said = f"{behind:.3f}" if argv[0] == "date" else f"{behind + 5:.6f} pi agent: connected"
        return Result("", 0, said, "", 0.0)

    before = time.time()
    told = machine_logs(run)
    line = parse(told["journal"], datetime.now(UTC))
    assert line is not None
    assert line.text == "pi agent: connected"
    assert before + 4 < line.at < time.time() + 6
    assert told["clock"].startswith("-")


def test_a_machines_words_become_logs_of_the_world(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sudo").write_text(SUDO)
    (tmp_path / "bin" / "sudo").chmod(0o755)
    key, client_key = make_home(tmp_path)
    server = SshServer(key, client_key, {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)})
    server.start()
    make_known(tmp_path, server)
    keys = tmp_path / ".ssh"
    there = SshDevice("pi-1", Address("127.0.0.1", "pi", keys / "id_ecdsa", keys / "known_hosts", server.port))
    gone = SshDevice("pi-2", Address("127.0.0.1", "pi", keys / "id_ecdsa", keys / "known_hosts", port=1))
    try:
        save_logs([there, gone], tmp_path / "logs")
    finally:
        there.close()
        server.stop()
    logs = {path.stem: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert "fleet-agent[7]: connected\n-- Boot 0a --" in logs["pi-1-journal"]
    for name in ("services", "engine", "agent", "machine"):
        assert "asked: " in logs[f"pi-1-{name}"], name
    assert "for engine in podman docker" in logs["pi-1-engine"]
    assert logs.keys() > {"pi-1-clock", "pi-2-journal"}
    assert "pi-2 does not answer" in logs["pi-2-journal"]


@pytest.mark.parametrize("secret", ["agent.json", "desired.json"])
def test_no_file_with_a_secret_is_read(secret: str) -> None:
    asked: list[str] = []

    def run(argv: list[str]) -> Result:
        asked.append(" ".join(argv))
        return Result("", 0, "1.0", "", 0.0)

    machine_logs(run)
    assert not [line for line in asked if secret in line]
