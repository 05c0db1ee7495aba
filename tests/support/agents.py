"""Agents as artefacts, for tests: really built, each version once a process, and signed with a key of the tests."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from fleet.artifacts.build import build
from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.layer import Target
from fleet.artifacts.manifest import describe, sign
from fleet.artifacts.verify import Machine
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, render_config
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.upgrade import Manifest, SignedManifest, TrustedKeys
from fleet.contract.wire import encode

HERE = Machine.this()
TARGET = Target((HERE.architecture,), (f"{HERE.python[0]}.{HERE.python[1]}",))
"""Only what this machine needs: a third of the time."""
KEY = ReleaseKey.new()
TRUSTED = TrustedKeys((KEY.public,))
_FOLDER = tempfile.TemporaryDirectory(prefix="fleet-agents-")


@cache
def built(version: str) -> Path:
    """The artefact of a version."""
    return build(AgentVersion(version), Path(_FOLDER.name), TARGET)


def signed(manifest: Manifest, key: ReleaseKey = KEY) -> bytes:
    """A manifest as it travels."""
    return encode(sign(manifest, key))


@cache
def manifest_of(version: str) -> Manifest:
    """The manifest of a built version."""
    return describe(built(version), AgentVersion(version), TARGET)


def small(folder: Path, content: bytes, version: str = "v9.9.9") -> tuple[Path, Manifest]:
    """A file that only plays an artefact, where nothing is run."""
    path = folder / f"fleet-agent-{version}"
    path.write_bytes(content)
    return path, describe_small(path, version)


def describe_small(path: Path, version: str) -> Manifest:
    """The manifest of such a file."""
    return describe(path, AgentVersion(version), TARGET)


def interpreter() -> str:
    """The Python that runs artefacts: without this project's virtual environment."""
    return str(Path(sys.executable).resolve())


def configure_without_a_key(root: Path) -> None:
    """The configuration of an agent whose key is none: the process that reads keys refuses it."""
    auth = FleetDeviceAuth("https://id.example.org", "1", MachineKey("1", "2", "no key"), "")
    config = root / "etc/fleet/agent.json"
    config.parent.mkdir(parents=True)
    config.touch(mode=0o600)
    config.write_bytes(render_config(AgentConfig(DeviceId("pi-1"), "tls://127.0.0.1:1", auth)))


def assert_the_key_is_refused(done: subprocess.CompletedProcess[str]) -> None:
    """By a self-test with that configuration; for this it had to load compiled libraries."""
    assert done.returncode == 1, done
    assert "config  FAILED" in done.stdout
    assert "PEM" in done.stdout or "private key" in done.stdout
    assert not done.stderr


def resigned(one: SignedManifest, payload: str) -> bytes:
    """A signed manifest with another payload under the old signature."""
    return encode(SignedManifest(payload, one.key_id, one.signature))
