"""Bring a device into the fleet."""

from __future__ import annotations

import stat

from fleet.contract.config import AgentConfig, load_config
from harness.commands import Result
from harness.preparation import is_online
from harness.runbook import Run
from harness.scenario import Command, Scenario, on_device, refused, signed_in
from scenarios import looks

enroll = Scenario(
    id="enroll",
    title="Enroll a device",
    chapter="Enroll",
    why="An admin signs in with a browser; the device gets a machine user, a key of its own and a configuration file. "
    "Nothing that was not enrolled ever gets in.",
)

_ENROLL = (
    "fleet device enroll --device-id {device} --label site={site} --heartbeat-interval 1"
    " --admin-oidc-client-id {client} --out {config}"
)


@enroll.step("Enroll with single sign-on", signed_in(_ENROLL), look_at=("operator",))
def enrolled(run: Run, _result: Result) -> None:
    """The terminal shows an address and a code, and goes on once the code is approved in a browser.

    The configuration file can be read by its owner only.
    """
    path = run.folder / run.name("config")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, f"{path} has mode {path.stat().st_mode:o}"
    config = load_config(path, AgentConfig)
    held = looks.device(run)
    assert config.device_id == held.id
    assert config.auth.machine_key.user_id == held.spec.subject
    assert held.spec.labels["site"] == run.name("site")
    run.keep(subject=held.spec.subject)


@enroll.step(
    "Set the device up",
    on_device("fleet device setup --config {config} {where}"),
    look_at=("agent:device", "callout", "operator"),
)
def set_up(run: Run, _result: Result) -> None:
    """The agent's unit is installed and started on the device, and the device comes online."""
    looks.online(run)


@enroll.step(
    "See the device",
    Command("fleet device list", contains=("{device}",)),
    Command("fleet device show {device}", contains=("{device}", "HeartbeatReceived")),
    Command("kubectl get devices --namespace {namespace}", contains=("{device}", "HeartbeatReceived")),
    look_at=("operator",),
)
def seen(run: Run, *_results: Result) -> None:
    """It is listed as online, with what it is: architecture, system, agent version."""
    info = looks.device(run).status.info
    assert info is not None, "the device has not said what it is"
    assert info.arch
    assert info.agent_version


@enroll.step(
    "Enroll the same id again",
    refused(
        "fleet device enroll --device-id {device} --admin-token-file {admin_token_file} --out again.json",
        5,
        contains="{device}",
    ),
)
def refused_twice(run: Run, _result: Result) -> None:
    """It is refused with exit code 5; the device stays as it was, and no file is written."""
    assert looks.device(run).spec.subject == run.kept("subject", str)
    assert is_online(looks.device(run))
    assert not (run.folder / "again.json").exists()
