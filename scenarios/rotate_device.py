"""Renew the machine keys of devices: of one that is there, and of one that is away meanwhile."""

from __future__ import annotations

import json
from dataclasses import dataclass

from fleet.contract.buckets import DEVICE_HEARTBEAT, KEY_ORDER
from harness.errors import HarnessError
from harness.probes.pulse import Pulse
from harness.scenario.command import Result
from harness.scenario.command_line import Command, killed
from harness.scenario.player import Run
from harness.scenario.scenario import Scenario
from scenarios import checks, logins
from scenarios.rotate import Watched, containers_of_both, went_on
from scenarios.workloads import web

_ROTATE = "fleet secrets rotate device_key {device} {device2} --admin-token-file {admin_token_file}"
_TIMED_OUT = 8

rotate_device = Scenario(
    id="rotate-device",
    title="Renew the machine keys of devices",
    chapter="Rotate",
    why="Whoever has a copy of a device's key can be that device. Each device makes a new key that never leaves it. "
    "The old one gets no token any more, and no workload notices.",
    devices=2,
)


@dataclass(frozen=True)
class Stolen:
    """A token that somebody with a copy of the old key has."""

    token: str


@rotate_device.step("Run a workload on two devices", web(), look_at=("operator",))
def listed(run: Run, _applied: Result) -> None:
    """Every device says by which key it came in: the one that it was enrolled with, which gets a token."""
    run.keep(Watched(containers_of_both(run), Pulse(run.world.nats_login, run.name("device"))))
    run.keep(Stolen(logins.token(run)))
    assert logins.visit(run, run.kept(Stolen).token).let_in
    for device, file in (("device", "config"), ("device2", "config2")):
        assert _came_in_by(run, device) == logins.config(run, file).auth.machine_key.key_id


@rotate_device.step(
    "Say what would be done",
    Command(f"{_ROTATE} --dry-run --output json", contains=("gets the order to make another key",)),
)
def nothing_changed(run: Run, result: Result) -> None:
    """Nothing has changed."""
    assert [one["id"] for one in json.loads(result.stdout)] == [
        _came_in_by(run, device) for device in sorted(("device", "device2"), key=run.name)
    ]
    assert run.world.nats.get(KEY_ORDER, run.name("device")) is None


@rotate_device.step("Pull the plug of one of them", look_at=("operator",))
def silent(run: Run) -> None:
    """Kubernetes shows that it is offline."""
    checks.killable(run, "device2").power_off()
    checks.offline(run, "device2")


@rotate_device.step(
    "Renew the keys",
    Command(
        f"{_ROTATE} --wait --timeout 20",
        exit_code=_TIMED_OUT,
        contains=("{device2}: it has not offered a new key yet (heard last at", "1 of 2 devices"),
        deadline=120,
    ),
    look_at=("agent:device", *checks.SERVER),
)
def one_is_done(run: Run, _rotated: Result) -> None:
    """The device that is there has a new key. The old one gets no token, and one that it got lets nobody in.

    The one that is away is named.
    """
    _has_another(run, "device", "config")
    assert not logins.visit(run, run.kept(Stolen).token).let_in, "a token that was had by the old key lets in"
    went_on_alone(run)


@rotate_device.step("Put the plug back", look_at=("agent:device2", "operator"))
def back(run: Run) -> None:
    """The device comes online by its old key, and offers a new one."""
    checks.killable(run, "device2").power_on()
    checks.online(run, "device2")


@rotate_device.step(
    "Go on, and be cut off",
    # The device then has to come in by its new key, and the old one is removed after that.
    killed(
        "fleet secrets rotate device_key {device2} --wait --admin-token-file {admin_token_file}",
        at="{device2}: the public half that the device made is registered",
        deadline=120,
    ),
    look_at=("agent:device2",),
)
def cut_off(run: Run) -> None:
    """Wherever it was, both devices work."""
    checks.online(run)
    checks.online(run, "device2")


@rotate_device.step(
    "Go on",
    Command(
        "fleet secrets rotate device_key {device2} --wait --admin-token-file {admin_token_file}",
        contains=("{device2}: ",),
        deadline=120,
    ),
    look_at=("agent:device2", *checks.SERVER),
)
def both_are_done(run: Run, _rotated: Result) -> None:
    """It ends where it would have ended."""
    _has_another(run, "device2", "config2")
    assert run.world.nats.get(KEY_ORDER, run.name("device2")) is None


@rotate_device.step("See that the devices went on", look_at=("callout", "nats", "agent:device"))
def devices_went_on(run: Run) -> None:
    """Both are online, the pause between heartbeats stayed within its bound, and no container of either was touched."""
    went_on(run)
    run.kept(Watched).pulse.end()


@rotate_device.step(
    "Set one of them up once more", Command("fleet device setup --config {config} {where}", on="device")
)
def nothing_to_do(run: Run, result: Result) -> None:
    """A set-up with the file of its enrollment does not bring the old key back."""
    assert "nothing changed" in result.output, result.output
    checks.online(run)


def went_on_alone(run: Run) -> None:
    """The device that is there was never out for long."""
    checks.online(run)
    assert checks.running(run).id == run.kept(Watched).containers[0], "a container was restarted"


def _has_another(run: Run, device: str, file: str) -> None:
    """The device comes in by another key than the one it was enrolled with, and that one gets no token."""
    old = logins.config(run, file)
    assert _came_in_by(run, device) not in {"", old.auth.machine_key.key_id}
    try:
        logins.token(run, file)
    except HarnessError as error:
        message = error.what
    else:
        raise AssertionError("the old key still gets a token")
    assert "/oauth/v2/token" in message, message


def _came_in_by(run: Run, device: str) -> str:
    beat = run.world.nats.get(DEVICE_HEARTBEAT, run.name(device))
    return beat.key_id if beat else ""
