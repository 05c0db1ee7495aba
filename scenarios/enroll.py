"""Bring a device into the fleet."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from fleet.contract.config import AgentConfig, load_config
from harness.scenario.command import Result
from harness.scenario.command_line import Command, on_device, refused, signed_in
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import is_online
from scenarios import checks, logins

enroll = Scenario(
    id="enroll",
    title="Enroll a device",
    chapter="Enroll",
    why="An admin signs in with a browser; the device gets a machine user, a key of its own and a configuration file. "
    "Nothing that was not enrolled ever gets in.",
)

_CONFIG = "/etc/fleet/agent.json"
_ENROLL = (
    "fleet device enroll --device-id {device} --label site={site} --heartbeat-interval 1"
    " --admin-oidc-client-id {client} --out {config}"
)


@dataclass(frozen=True)
class Enrolled:
    """The identity that the device was enrolled with."""

    subject: str


@enroll.step("Enroll with single sign-on", signed_in(_ENROLL), look_at=("operator",))
def enrolled(run: Run, result: Result) -> None:
    """The terminal shows an address and a code, and goes on once the code is approved in a browser.

    The device has one machine user, and its key is in the configuration file, which can be read by its owner only.
    """
    assert run.world.issuer in result.output, "no address of the identity provider is shown"
    path = run.folder / run.name("config")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, f"{path} has mode {path.stat().st_mode:o}"
    config = load_config(path, AgentConfig)
    held = checks.device(run)
    assert config.device_id == held.id
    assert config.auth.machine_key.user_id == held.spec.subject
    assert held.metadata.labels.get("site") == run.name("site")
    assert config.heartbeat_interval == 1
    users = logins.machine_users(run)
    assert users == {held.spec.subject: True}, f"its machine users: {users}"
    run.keep(Enrolled(held.spec.subject))


@enroll.step(
    "Set the device up",
    on_device("fleet device setup --config {config} {where}"),
    look_at=("agent:device", "callout", "operator"),
)
def set_up(run: Run) -> None:
    """The agent's unit is installed and started on the device, and the device comes online within 20 s.

    Its configuration can be read by root only there.
    """
    checks.online(run)
    # A device that is a folder on this machine says where that is; on any other it is the root.
    mode = run.world.device(run.name("device")).run(["sh", "-c", f'stat -c %a "${{FLEET_ROOT:-}}{_CONFIG}"'])
    assert mode.stdout.strip() == "600", f"{_CONFIG} on the device has mode {mode.output.strip()}"


@enroll.step(
    "See the device",
    Command("fleet device list", contains=("{device}",)),
    Command("fleet device show {device}", contains=("{device}", "HeartbeatReceived")),
    Command("kubectl get devices --namespace {namespace}", contains=("{device}", "HeartbeatReceived")),
    look_at=("operator",),
)
def seen(run: Run, listed: Result, shown: Result, _kubectl: Result) -> None:
    """It is listed as online, with what it is: architecture, system, agent version."""
    info = checks.device(run).status.info
    assert info is not None, "the device has not said what it is"
    row = next(line.split() for line in listed.stdout.splitlines() if line.startswith(run.name("device")))
    assert row[1] == "True", f"it is not listed as online: {row}"
    assert str(info.agent_version) in row
    for fact in (info.arch, info.os, str(info.agent_version)):
        assert fact, f"what it is has a gap: {info}"
        assert fact in shown.stdout, f"{fact!r} is not shown"


@enroll.step(
    "Enroll the same id again",
    refused(
        "fleet device enroll --device-id {device} --admin-token-file {admin_token_file} --out again.json",
        5,
        contains="{device}",
    ),
)
def refused_twice(run: Run) -> None:
    """It is refused with exit code 5; the device stays as it was, and no file and no machine user is made."""
    subject = run.kept(Enrolled).subject
    assert checks.device(run).spec.subject == subject
    assert is_online(checks.device(run))
    assert not (run.folder / "again.json").exists()
    assert logins.machine_users(run) == {subject: True}
