"""Renew the secrets of a server while its fleet works."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from fleet.contract.buckets import DEVICE_INFO
from harness.errors import HarnessError
from harness.probes.nats import NatsLogin, NatsProbe
from harness.probes.pulse import Pulse
from harness.scenario.command import Result
from harness.scenario.command_line import Command, killed
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import INSTALL
from harness.wait import stretch, wait_until
from scenarios import checks
from scenarios.workloads import web

GAP = 10.0
"""Seconds that a device may be unheard of while the only server of NATS restarts, its interval of 1 s included."""
_ISSUER, _PASSWORD, _TLS = "nats_issuer_seed", "nats_app_pass", "nats_tls_key"
LIST = "fleet secrets list --output json"

rotate = Scenario(
    id="rotate",
    title="Renew a server's secrets",
    chapter="Rotate",
    why="A secret that has leaked, or is old, is replaced while the fleet works: no workload is restarted, and who "
    "still has the old one gets nowhere with it.",
    devices=2,
)


@dataclass(frozen=True)
class Watched:
    """The containers of both devices, and the heartbeats of the first, which are watched until the scenario's end."""

    containers: tuple[str, str]
    pulse: Pulse


@dataclass(frozen=True)
class Before:
    """The id of the issuer's seed in use, and a login from before the rotation."""

    issuer: str
    login: NatsLogin


@rotate.step("Run a workload on two devices, and see what secrets there are", web(), LIST, look_at=("operator",))
def listed(run: Run, _applied: Result, result: Result) -> None:
    """Each secret is shown with an id, its age and who uses it; no value is."""
    shown = secrets_in(result)
    run.keep(Watched(containers_of_both(run), Pulse(run.world.nats_login, run.name("device"))))
    run.keep(Before(shown[_ISSUER]["id"], run.world.nats_login()))
    assert shown[_ISSUER]["state"] == shown[_PASSWORD]["state"] == "current", shown
    assert set(shown[_ISSUER]["inUse"].values()) == {shown[_ISSUER]["id"]}
    assert run.world.nats_login().password not in result.output
    devices = shown["device_key"]["devices"]
    assert all(devices[run.name(device)] for device in ("device", "device2")), "the ages of their keys are not told"


@rotate.step(
    "Say what would be done",
    Command(f"fleet secrets rotate {_ISSUER} --dry-run --output json", contains=("it would begin here",)),
)
def nothing_changed(run: Run, result: Result) -> None:
    """Nothing has changed."""
    assert json.loads(result.stdout)[0]["id"] == run.kept(Before).issuer


@rotate.step(
    "Renew what the callout signs with",
    Command(f"fleet secrets rotate {_ISSUER}", contains=("rotated, now A",), deadline=180),
    LIST,
    look_at=checks.SERVER,
)
def issuer_renewed(run: Run, _rotated: Result, result: Result) -> None:
    """Every server of NATS takes decisions by the new key only, and every callout has forgotten the old one."""
    shown = renewed(result, _ISSUER)
    assert shown["id"] != run.kept(Before).issuer
    run.keep(replace(run.kept(Before), issuer=shown["id"]))


@rotate.step(
    "Renew NATS' key and certificate",
    Command(f"fleet secrets rotate {_TLS}", contains=("rotated, now sha256:",), deadline=180),
    LIST,
    look_at=checks.SERVER,
)
def another_certificate(run: Run, _rotated: Result, result: Result) -> None:
    """Every server of NATS shows a certificate for the new key, by the authority that devices trust already."""
    shown = renewed(result, _TLS)
    assert shown["expires"] > shown["due"], "it ends before it is due"


@rotate.step("See that the devices went on", look_at=("callout", "nats", "agent:device"))
def deviceswent_on(run: Run) -> None:
    """Both are online, no container was touched, and the pause between heartbeats stayed within its bound."""
    went_on(run)


@rotate.step(
    "Begin to renew the operator's password, and be cut off",
    killed(
        f"fleet secrets rotate {_PASSWORD}",
        at="the new version takes the place of the old one",
        deadline=180,
    ),
    look_at=checks.SERVER,
)
def cut_off(run: Run) -> None:
    """Wherever it was, the fleet works."""
    checks.online(run)


@rotate.step(
    "Go on",
    Command(f"fleet secrets rotate {_PASSWORD}", contains=("fleet-app-",), deadline=180),
    LIST,
    look_at=checks.SERVER,
)
def gone_on(run: Run, _rotated: Result, result: Result) -> None:
    """It ends where it would have ended, and the old password lets nobody in."""
    renewed(result, _PASSWORD)
    _refused(run)


@rotate.step("See that the devices went on again", look_at=("callout", "nats", "agent:device"))
def devices_went_on_again(run: Run) -> None:
    """Both are online, no container was touched, and the pause between heartbeats stayed within its bound."""
    went_on(run)


@rotate.step("Install once more", INSTALL)
def nothing_to_do(run: Run, result: Result) -> None:
    """An install after a rotation changes nothing."""
    run.kept(Watched).pulse.end()
    assert "nothing changed" in result.output, result.output


def secrets_in(result: Result) -> dict[str, Any]:
    """What `fleet secrets list` shows, by name."""
    return {secret["name"]: secret for secret in json.loads(result.stdout)}


def renewed(result: Result, name: str) -> dict[str, Any]:
    """A secret as it is listed: current, and nothing but it is in use."""
    shown: dict[str, Any] = secrets_in(result)[name]
    assert shown["state"] == "current", shown
    assert set(shown["inUse"].values()) == {shown["id"]}
    return shown


def containers_of_both(run: Run) -> tuple[str, str]:
    """The running container of each of the two devices."""
    return checks.running(run).id, checks.running(run, device="device2").id


def went_on(run: Run) -> None:
    """Waits for two more heartbeats; no pause was too long, and no container was touched."""
    watched = run.kept(Watched)
    pulse = watched.pulse
    before = pulse.beats
    wait_until(lambda: pulse.beats, "two more heartbeats", timeout=checks.ROLLOUT, until=lambda n: n >= before + 2)
    longest = pulse.longest()
    run.world.note(f"a device was unheard of for {longest:.1f} s at most")
    assert longest <= GAP * stretch(), f"a device was unheard of for {longest:.1f} s"
    checks.online(run)
    checks.online(run, "device2")
    assert containers_of_both(run) == watched.containers, "a container was restarted"


def _refused(run: Run) -> None:
    """The login that the scenario began with is refused now."""
    old = run.kept(Before).login
    with closing(NatsProbe(lambda: old)) as probe:
        try:
            raw = probe.raw(DEVICE_INFO, run.name("device"))
        except HarnessError as error:
            message = error.what
        else:
            raise AssertionError(f"the old password still lets in, and read {len(raw or b'')} bytes")
    assert "uthorization" in message, message
