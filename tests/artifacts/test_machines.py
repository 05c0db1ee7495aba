"""One artefact for every machine that an agent is built for: it runs there, with the libraries compiled for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fleet.artifacts.build import build
from fleet.artifacts.layer import Target
from fleet.contract.names import AgentVersion
from tests.support.agents import assert_the_key_is_refused, configure_without_a_key
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
    configure_without_a_key(tmp_path)
    done = machine.python(tmp_path, "/mnt/agent", "--self-test", "--root", "/mnt")
    assert_the_key_is_refused(done)
