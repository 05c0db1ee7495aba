"""The program: `fleet-callout --config FILE`."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.contract.config import CalloutConfig, render_config
from fleet.nats.keys import Role, new_seed
from harness.processes.ports import free_port
from harness.processes.spawn import http_answers, spawn
from harness.wait import wait_until
from tests.support.callout import callout_config, identities
from tests.support.issuer import Issuer
from tests.support.nats import Nats

ARGV = [sys.executable, "-c", "from fleet.callout.main import main; main()"]


def written(folder: Path, config: CalloutConfig, mode: int = 0o600) -> Path:
    path = folder / "callout.json"
    path.write_bytes(render_config(config))
    path.chmod(mode)
    return path


def refused(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*ARGV, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_missing_configuration_is_one_sentence(tmp_path: Path) -> None:
    done = refused("--config", str(tmp_path / "none.json"))
    assert done.returncode == 4
    assert done.stderr.startswith("fleet-callout: cannot read ")


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"issuer_seed": "SAnonsense"}, 2, "NATS key"),
        ({"issuer_seed": new_seed(Role.CURVE)}, 2, "cannot sign"),
        ({"xkey_seed": new_seed(Role.ACCOUNT)}, 2, "curve"),
        ({"ca": "no certificate"}, 2, "CA"),
    ],
    ids=["seed", "seed of another role", "xkey of another role", "CA"],
)
def test_a_wrong_configuration_is_one_sentence(
    nats: Nats, issuer: Issuer, tmp_path: Path, changes: dict[str, object], code: int, words: str
) -> None:
    config = callout_config(nats, issuer, **changes)
    done = refused("--config", str(written(tmp_path, config)))
    assert done.returncode == code
    assert words in done.stderr
    for secret in (config.issuer_seed, config.xkey_seed, config.nats_auth_pass):
        assert secret not in done.stderr


def test_a_configuration_that_others_can_read_is_refused(nats: Nats, issuer: Issuer, tmp_path: Path) -> None:
    done = refused("--config", str(written(tmp_path, callout_config(nats, issuer), 0o644)))
    assert done.returncode == 2
    assert "chmod 600" in done.stderr


def test_a_truncated_configuration_is_refused(nats: Nats, issuer: Issuer, tmp_path: Path) -> None:
    path = written(tmp_path, callout_config(nats, issuer))
    path.write_bytes(path.read_bytes()[:100])
    done = refused("--config", str(path))
    assert done.returncode == 2
    assert "callout.json" in done.stderr


def test_a_taken_health_port_is_one_sentence(nats: Nats, issuer: Issuer, tmp_path: Path) -> None:
    config = callout_config(nats, issuer, health_port=nats.monitor_port)
    done = refused("--config", str(written(tmp_path, config)))
    assert done.returncode == 5
    assert f"127.0.0.1:{nats.monitor_port}" in done.stderr


async def empty_registry(nats: Nats) -> None:
    async with identities(nats):
        pass


def test_it_waits_for_nats_becomes_ready_and_ends_on_sigterm(nats: Nats, issuer: Issuer, tmp_path: Path) -> None:
    asyncio.run(empty_registry(nats))
    port = free_port()
    config = callout_config(nats, issuer, health_port=port)
    log = tmp_path / "callout.log"
    process = spawn([*ARGV, "--config", str(written(tmp_path, config))], log=log)
    try:
        page = f"http://127.0.0.1:{port}"
        wait_until(lambda: http_answers(f"{page}/healthz"), "it is alive", timeout=30)
        wait_until(lambda: http_answers(f"{page}/readyz"), "it is ready", timeout=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert '"event": "ready"' in text
    assert '"event": "stopped"' in text
    assert "Traceback" not in text
    for secret in (config.issuer_seed, config.xkey_seed, config.nats_auth_pass):
        assert secret not in text
