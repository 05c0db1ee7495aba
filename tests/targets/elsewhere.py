"""A fleet that others run, handed over to a run that only visits it: started and installed elsewhere.

The run gets a kubeconfig of a user with limited rights, the provider's address and an administrator's token; processes
stand in for boards.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from harness.world.world import World
from tests.repo.test_documents import ROOT
from tests.targets.conftest import documented_role

APPROVE = """
import sys
from pathlib import Path
from harness.targets.identity import ZitadelDouble
issuer, ca, state, code = sys.argv[1:]
ZitadelDouble(issuer, Path(ca), Path(state)).approve(code)
"""
"""A person with a browser."""


@dataclass
class Elsewhere:
    """A fleet that others run, and the description that they hand over."""

    world: World
    engine: str
    file: Path

    def visit(self, *options: str) -> subprocess.CompletedProcess[str]:
        """A run of its own, with no more than the description."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET_", "PYTEST_"))}
        argv = [sys.executable, "-m", "pytest", "e2e/test_runbook.py", "-q", "-W", "error", "-p", "no:randomly"]
        argv += ["-p", "no:cacheprovider", *options]
        return subprocess.run(
            argv,
            cwd=ROOT,
            env={**env, "FLEET_ENGINE_SOCKET": self.engine},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def kubectl(self, *words: str, stdin: str = "") -> str:
        argv = ["kubectl", "--namespace", self.world.namespace, *words]
        done = subprocess.run(
            argv, env=self.world.env, input=stdin, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def hand_over(made: Elsewhere, folder: Path) -> None:
    """Write the description, for a user with the documented Role."""
    world = made.world
    made.kubectl("create", "serviceaccount", "fleet-test-run")
    made.kubectl("create", "-f", "-", stdin=documented_role())
    account = f"{world.namespace}:fleet-test-run"
    made.kubectl("create", "rolebinding", "fleet-test-run", "--role=fleet-test-run", f"--serviceaccount={account}")
    if world.target == "embedded":  # a server of processes keeps its secrets in files; one of pods, in this Secret
        password = (world.root / "secrets" / "nats_app_pass").read_text().strip()
        made.kubectl("create", "secret", "generic", "fleet-secrets", f"--from-literal=nats_app_pass={password}")
    config = json.loads(Path(world.env["KUBECONFIG"]).read_text())
    config["users"] = [{"name": "world", "user": {"token": made.kubectl("create", "token", "fleet-test-run").strip()}}]
    (folder / "kubeconfig").write_text(json.dumps(config))
    fields = {
        "kubeconfig": "kubeconfig",
        "namespace": world.namespace,
        "issuer": world.issuer,
        "issuer_ca": str(world.issuer_ca),
        "admin_token_file": str(world.admin_token_file),
        "approve_command": [
            sys.executable, "-c", APPROVE, world.issuer, str(world.issuer_ca), str(world.root / "identity")
        ],
        "lab": {"processes": True},
    }  # fmt: skip
    made.file.write_text(json.dumps(fields))


def runs_the_runbook(elsewhere: Elsewhere, *options: str) -> str:
    """Enroll with a sign-in, roll out; the device of others is as before, and none of ours is left anywhere.

    Returns what the run printed.
    """
    enroll = ["fleet", "device", "enroll", "--device-id", "somebodys", "--out", "somebodys.json"]
    world = elsewhere.world
    enroll += ["--admin-token-file", str(world.admin_token_file)]
    subprocess.run(enroll, env=world.env, cwd=elsewhere.file.parent, check=True, capture_output=True)
    before = elsewhere.kubectl("get", "device", "somebodys", "-o", "jsonpath={.metadata.uid} {.spec}")
    users = _users(world)
    assert any("-somebodys." in user for user in users)
    done = elsewhere.visit("-m", "staging", "--fleet-target", f"staging:{elsewhere.file}", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert elsewhere.kubectl("get", "devices,fleetdeployments", "-o", "name").split() == [
        "device.fleet.nationtech.io/somebodys"
    ]
    assert elsewhere.kubectl("get", "device", "somebodys", "-o", "jsonpath={.metadata.uid} {.spec}") == before
    assert _users(world) == users
    return done.stdout


def _users(world: World) -> set[str]:
    """Who is known to the provider."""
    trust = ssl.create_default_context(cafile=str(world.issuer_ca))
    token = world.admin_token_file.read_text().strip()
    answer = httpx.post(
        f"{world.issuer}/management/v1/users/_search",
        json={},
        headers={"Authorization": f"Bearer {token}"},
        verify=trust,
        trust_env=False,
    )
    return {user["userName"] for user in answer.raise_for_status().json()["result"]}
