"""The command line: every wrong start is a sentence with a next step and an exit code, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fleet.agent.main import login_now, main
from fleet.agent.paths import AgentPaths
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, render_config
from fleet.contract.names import DeviceId
from fleet.version import VERSION
from harness.processes.ports import free_port
from harness.wait import wait_until
from tests.support.issuer import PROJECT, rsa
from tests.support.tls import Tls


@pytest.fixture
def config(tls: Tls) -> AgentConfig:
    """A good configuration of servers that are not there."""
    key = MachineKey(user_id="1", key_id="2", key=rsa(1).as_pem(private=True).decode())
    auth = FleetDeviceAuth(f"https://localhost:{free_port()}", PROJECT, key, tls.ca)
    return AgentConfig(DeviceId("pi-1"), f"tls://localhost:{free_port()}", auth)


def write(root: Path, content: bytes, mode: int = 0o600) -> None:
    file = AgentPaths(root).config
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    file.chmod(mode)


def refused(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main(["run", "--root", str(root)])
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "next: " in told
    assert isinstance(end.value.code, int)
    return end.value.code, told


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"fleet-agent {VERSION}\n"
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert f"v{project['version']}" == VERSION


@pytest.mark.parametrize("arguments", [[], ["stop"], ["run", "--self-test"], ["run", "--nothing"]])
def test_a_wrong_command_line_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: fleet-agent" in capsys.readouterr().err


def test_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = refused(tmp_path, capsys)
    assert code == 4
    assert str(AgentPaths(tmp_path).config) in told


def test_no_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(tmp_path / "absent", capsys)[0] == 2


def test_a_configuration_that_others_can_read(
    tmp_path: Path, config: AgentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, render_config(config), 0o644)
    code, told = refused(tmp_path, capsys)
    assert code == 2
    assert "chmod 600" in told


Change = Callable[[AgentConfig], AgentConfig]


def auth(**changes: object) -> Change:
    def change(config: AgentConfig) -> AgentConfig:
        return msgspec.structs.replace(config, auth=msgspec.structs.replace(config.auth, **changes))

    return change


def address(url: str) -> Change:
    def change(config: AgentConfig) -> AgentConfig:
        return msgspec.structs.replace(config, nats_url=url)

    return change


def key(cut: int) -> Change:
    def change(config: AgentConfig) -> AgentConfig:
        whole = config.auth.machine_key
        return auth(machine_key=msgspec.structs.replace(whole, key=whole.key[:cut]))(config)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (auth(issuer="http://localhost"), "not an issuer"),
        (auth(issuer="https://localhost/"), "not an issuer"),
        (auth(ca="no PEM"), "CA is not a PEM certificate"),
        (key(400), "truncated or damaged"),
        (key(0), "truncated or damaged"),
        (address("nats://localhost:4222"), "no NATS address"),
        (address("tls://localhost"), "no NATS address"),
        (address("tls+first://localhost"), "no NATS address"),
    ],
    ids=["http", "slash", "ca", "truncated-key", "no-key", "clear", "no-port", "tls-first-no-port"],
)
def test_a_wrong_value(
    tmp_path: Path, config: AgentConfig, change: Change, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, render_config(change(config)))
    code, said = refused(tmp_path, capsys)
    assert code == 2
    assert told in said
    assert "PRIVATE KEY" not in said


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_truncated_configuration(
    tmp_path: Path, config: AgentConfig, cut: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, render_config(config)[:cut])
    code, said = refused(tmp_path, capsys)
    assert code == 2
    assert "agent.json: it is not JSON" in said


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            b'"heartbeatInterval"',
            b'"heartbeatIntervall"',
            "heartbeatIntervall is unknown; did you mean heartbeatInterval?",
        ),
        (b'"keyId"', b'"kid": "x", "keyId"', "auth.machineKey.kid is unknown; did you mean keyId?"),
        (b'"natsUrl"', b'"natsUrl": "x", "natsUrl"', "natsUrl stands there twice"),
    ],
    ids=["unknown", "inside", "twice"],
)
def test_a_name_that_would_be_ignored(
    tmp_path: Path, config: AgentConfig, old: bytes, new: bytes, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, render_config(config).replace(old, new, 1))
    code, said = refused(tmp_path, capsys)
    assert code == 2
    assert told in said
    assert "PRIVATE KEY" not in said


def test_the_self_test_tells_each_part(tmp_path: Path, config: AgentConfig, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, render_config(config))
    with pytest.raises(SystemExit) as end:
        main(["--self-test", "--root", str(tmp_path)])
    assert end.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["config", "ok"],
        ["engine", "FAILED"],
        ["issuer", "FAILED"],
        ["nats", "NOT"],
    ]
    assert "start docker or podman" in lines[1]


@pytest.mark.parametrize(
    ("word", "check"),
    [("doctor", "doctor.examine = examined"), ("--self-test", "selftest.self_test = tested")],
    ids=["doctor", "self-test"],
)
def test_libraries_say_nothing_beside_what_a_check_tells(tmp_path: Path, word: str, check: str) -> None:
    """asyncio warns of each connection to NATS that ends. In a process of its own: pytest takes what is logged."""
    program = f"""
import logging, sys
from fleet.agent import doctor, main, selftest
from fleet.doctor.findings import Finding, State
def warn():
    logging.getLogger("asyncio").warning("returning true from eof_received() has no effect when using ssl")
def examined(*_):
    warn()
    return [Finding("unit", State.OK, "it runs")]
async def tested(*_):
    warn()
    return True
{check}
main.main([{word!r}, "--root", sys.argv[1]])
"""
    argv = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["desired.json", "agent/journal.json"])
def test_the_self_test_on_what_a_newer_agent_left(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "var/lib/fleet" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"schema":2}')
    with pytest.raises(SystemExit) as end:
        main(["--self-test", "--root", str(tmp_path)])
    assert end.value.code == 87
    assert "run an agent that is as new" in capsys.readouterr().out


def test_the_self_test_without_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--self-test", "--root", str(tmp_path)])
    assert end.value.code == 1
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_key_that_was_replaced_is_used_at_the_next_login(tmp_path: Path, config: AgentConfig) -> None:
    other = msgspec.structs.replace(config.auth.machine_key, key_id="3")
    new = msgspec.structs.replace(config.auth, machine_key=other)
    write(tmp_path, render_config(msgspec.structs.replace(config, auth=new)))
    assert login_now(AgentPaths(tmp_path), config) == new


@pytest.mark.parametrize("content", [b"", b"{"])
def test_a_configuration_that_is_damaged_leaves_the_old_key(
    content: bytes, tmp_path: Path, config: AgentConfig
) -> None:
    write(tmp_path, content)
    assert login_now(AgentPaths(tmp_path), config) == config.auth


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well_though_nothing_answers(
    tmp_path: Path, config: AgentConfig, number: signal.Signals
) -> None:
    write(tmp_path, render_config(config))
    log = tmp_path / "log"
    with log.open("wb") as output:
        agent = subprocess.Popen(
            [sys.executable, "-m", "fleet.agent.main", "run"],
            stderr=output,
            env={**os.environ, "FLEET_ROOT": str(tmp_path)},
        )
    try:
        wait_until(lambda: "no token from the issuer" in log.read_text(), "it misses its issuer", timeout=30)
        agent.send_signal(number)
        assert agent.wait(5) == 0
    finally:
        agent.kill()
        agent.wait()
    told = log.read_text()
    assert "agent stopped; workloads go on" in told
    assert "Traceback" not in told
    assert "PRIVATE KEY" not in told


def test_a_running_agent_carries_nothing_of_the_tasks_that_it_starts() -> None:
    """What signs takes 10 MB; a device would have it twice during an upgrade."""
    tasks = ["cryptography", "joserfc", "fleet.identity.tokens", "fleet.agent.selftest", "fleet.artifacts.verify"]
    agent = "fleet.agent.main, fleet.agent.agent, fleet.agent.upgrade.device.installed"
    code = f"import sys, {agent}; print([name for name in {tasks} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
