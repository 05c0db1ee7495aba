"""Renew a server's certificate authority: with a device that is away, and once more without it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import msgspec

from fleet.contract.buckets import DEVICE_INFO
from fleet.contract.certificates import certificate_ids
from fleet.contract.wire import DeviceInfo
from harness.errors import HarnessError
from harness.probes.nats import NatsProbe
from harness.probes.pulse import Pulse
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import INSTALL
from harness.wait import wait_until
from scenarios import checks
from scenarios.rotate import LIST, Watched, containers_of_both, renewed, secrets_in, went_on
from scenarios.workloads import web

_AUTHORITY = "ca_key"
_BUNDLE = "bundle.pem"

rotate_authority = Scenario(
    id="rotate-authority",
    title="Renew the certificate authority",
    chapter="Rotate",
    why="Whoever has the key of the authority can pretend to be the server to every device. All devices trust the new "
    "one before the server shows a certificate of it, and none trusts the old one afterwards.",
    devices=2,
)


@dataclass(frozen=True)
class Before:
    """The authority from before the rotation: its id, and what was trusted."""

    authority: str
    ca: str


@rotate_authority.step("Run a workload on two devices", web(), LIST, look_at=("operator",))
def listed(run: Run, _applied: Result, result: Result) -> None:
    """Every device says which certificates it trusts: those that the server announces."""
    shown = secrets_in(result)[_AUTHORITY]
    assert shown["state"] == "current", shown
    run.keep(Before(shown["id"], run.world.nats_login().ca))
    run.keep(Watched(containers_of_both(run), Pulse(run.world.nats_login, run.name("device"))))
    _trust_what_is_announced(run, "device", "device2")


@rotate_authority.step("Pull the plug of one of them", look_at=("operator",))
def silent(run: Run) -> None:
    """Kubernetes shows that it is offline."""
    checks.killable(run, "device2").power_off()
    checks.offline(run, "device2")


@rotate_authority.step(
    "Begin to renew the authority",
    Command(
        f"fleet secrets rotate {_AUTHORITY}",
        contains=("not at its end: device {device2} (it reported last at", "does not honour", "--leave-behind"),
        deadline=120,
    ),
    look_at=checks.SERVER,
)
def waits(run: Run, result: Result) -> None:
    """It names the device that is away, and waits for it no longer than for one that is there.

    The other device trusts both authorities by now, and the server still shows a certificate of the old one.
    """
    assert f"device {run.name('device')} " not in result.output, "the device that is there is named as well"
    _trust_what_is_announced(run, "device")
    assert len(certificate_ids(run.world.nats_login().ca)) == len(certificate_ids(run.kept(Before).ca)) + 1
    checks.online(run)


@rotate_authority.step("Put the plug back", look_at=("agent:device2", "operator"))
def back(run: Run) -> None:
    """The device comes online, and takes the bundle."""
    checks.killable(run, "device2").power_on()
    checks.online(run, "device2")
    _trust_what_is_announced(run, "device2")


@rotate_authority.step(
    "Go on",
    Command(f"fleet secrets rotate {_AUTHORITY} --wait", contains=("rotated, now sha256:",), deadline=180),
    LIST,
    look_at=checks.SERVER,
)
def gone_on(run: Run, _rotated: Result, result: Result) -> None:
    """Every server of NATS shows a certificate of the new authority, and no device trusts the old one any more."""
    shown = renewed(result, _AUTHORITY)
    assert shown["id"] != run.kept(Before).authority
    _trust_what_is_announced(run, "device", "device2")
    gone = set(certificate_ids(run.kept(Before).ca)) - set(certificate_ids(run.world.nats_login().ca))
    assert len(gone) == 1, "the old authority is still announced"
    _old_is_dead(run)


@rotate_authority.step("See that the devices went on", look_at=("callout", "nats", "agent:device"))
def devices_went_on(run: Run) -> None:
    """Both are online, no container was touched, and the pause between heartbeats stayed within its bound."""
    went_on(run)
    run.kept(Watched).pulse.end()


@rotate_authority.step("Install once more", INSTALL)
def nothing_to_do(run: Run, result: Result) -> None:
    """An install after a rotation changes nothing."""
    del run
    assert "nothing changed" in result.output, result.output


@rotate_authority.step("Pull the plug again", look_at=("operator",))
def silent_again(run: Run) -> None:
    """Kubernetes shows that the device is offline."""
    silent(run)


@rotate_authority.step(
    "Renew the authority without it",
    Command(
        f"fleet secrets rotate {_AUTHORITY} --wait --leave-behind {{device2}}",
        contains=("rotated, now sha256:",),
        deadline=180,
    ),
    look_at=checks.SERVER,
)
def left_behind(run: Run) -> None:
    """Kubernetes says why the device may be unable to come back, and what brings it back."""
    wait_until(
        lambda: checks.device(run, "device2"),
        "the device is shown as left behind",
        timeout=checks.ROLLOUT,
        until=lambda held: checks.says(held, "BundleOutdated", "True", "LeftBehind"),
    )


@rotate_authority.step(
    "Put the plug back, and print the certificates", Command("fleet secrets bundle"), look_at=("agent:device2",)
)
def locked_out(run: Run, result: Result) -> None:
    """The device finds no server that it trusts."""
    checks.killable(run, "device2").power_on()
    (run.folder / _BUNDLE).write_text(result.stdout, encoding="ascii")
    checks.online(run)
    assert not checks.says(checks.device(run, "device2"), "Online", "True", "HeartbeatReceived")


@rotate_authority.step(
    "Bring the certificates to it",
    Command(
        f"fleet device setup --trust {_BUNDLE} {{where2}}", contains=("{device2} trusts the bundle",), on="device2"
    ),
    look_at=("agent:device2", "operator"),
)
def back_again(run: Run) -> None:
    """It is online, nothing of the old authority is left, and its workload was not touched."""
    checks.online(run, "device2")
    _trust_what_is_announced(run, "device", "device2")
    wait_until(
        lambda: checks.condition(checks.device(run, "device2"), "BundleOutdated"),
        "nothing is said of its bundle any more",
        timeout=checks.ROLLOUT,
        until=lambda value: value is None,
    )


def _trust_what_is_announced(run: Run, *devices: str) -> None:
    """Waits until devices say that they trust exactly what the server announces."""
    announced = set(certificate_ids(run.world.nats_login().ca))
    for device in devices:
        wait_until(
            lambda device=device: _info(run, device),
            f"{run.name(device)} trusts what the server announces",
            timeout=checks.ROLLOUT,
            until=lambda info: info is not None and set(info.trusts) == announced,
        )


def _info(run: Run, device: str) -> DeviceInfo | None:
    return run.world.nats.get(DEVICE_INFO, run.name(device))


def _old_is_dead(run: Run) -> None:
    """What trusts the old authority alone does not trust the server any more."""
    old = msgspec.structs.replace(run.world.nats_login(), ca=run.kept(Before).ca)
    with closing(NatsProbe(lambda: old)) as probe:
        try:
            probe.raw(DEVICE_INFO, run.name("device"))
        except HarnessError as error:
            message = error.what
        else:
            raise AssertionError("the server still shows a certificate of the old authority")
    assert "certificate" in message, message
