"""One artefact for every machine that an agent is built for: it runs there, with the libraries compiled for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fleet.artifacts.build import build
from fleet.artifacts.layer import Target
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, render_config
from fleet.contract.names import AgentVersion, DeviceId
from tests.support.emulated import Machine

MACHINES = (Machine("bookworm", "arm64"), Machine("trixie", "amd64"))
"""Python 3.11 on another processor, and Python 3.13."""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Module: the agent for all architectures and versions of Python."""
    return build(AgentVersion("v0.1.1"), tmp_path_factory.mktemp("agent"), Target())


@pytest.mark.parametrize("machine", MACHINES, ids="-".join)
def test_it_runs_and_so_do_its_helpers(machine: Machine, artifact: Path, tmp_path: Path) -> None:
    """A key that is none is refused by a helper process that had to load what was compiled for this machine."""
    shutil.copy(artifact, tmp_path / "agent")
    said = machine.python(tmp_path, "/mnt/agent", "--version")
    assert said.stdout == "fleet-agent v0.1.1\n", said
    auth = FleetDeviceAuth("https://id.example.org", "1", MachineKey("1", "2", "no key"), "")
    config = tmp_path / "etc/fleet/agent.json"
    config.parent.mkdir(parents=True)
    config.touch(mode=0o600)
    config.write_bytes(render_config(AgentConfig(DeviceId("pi-1"), "tls://127.0.0.1:1", auth)))
    done = machine.python(tmp_path, "/mnt/agent", "--self-test", "--root", "/mnt")
    assert done.returncode == 1, done
    assert "config  FAILED" in done.stdout
    assert "PEM" in done.stdout or "private key" in done.stdout
    assert not done.stderr
