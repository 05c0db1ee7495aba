"""Wrong input: refused or reported where it enters, and nothing else is harmed."""

from __future__ import annotations

import shlex
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from fleet.contract.buckets import (
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
    Bucket,
)
from fleet.contract.states import state_of
from fleet.contract.wire import Phase, Reason
from harness.probes.identity import IdentityProbe
from harness.probes.services import metric
from harness.scenario.command_line import refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import is_online
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import (
    job,
    job_on_port,
    job_that_crashes,
    job_that_is_not_well,
    job_with_privileges,
    web,
    web_on_port,
    web_without_image,
)

_RULE = "RFC 1123 label"
_BAD_IDS = ("", "a" * 64, "Pi-1", "pi.1", "pi/1", "*", ">", "pi 1", "pí-1", "-pi")

bad_ids = Scenario(
    id="bad-ids",
    title="Give a device an impossible name",
    chapter="Bad input",
    why="A device's id becomes part of subjects, files and object names, so it is checked before anything else "
    "happens.",
)


@bad_ids.step(
    "Enroll with ids that are no RFC 1123 labels",
    *(
        refused(
            f"fleet device enroll --device-id={shlex.quote(bad)} --admin-token-file {{admin_token_file}} --out no.json",
            2,
            contains=_RULE,
        )
        for bad in _BAD_IDS
    ),
)
def ids_refused(run: Run) -> None:
    """Each ends with exit code 2 and the rule in words; no device, no file and no machine user is left behind."""
    assert not (run.folder / "no.json").exists()
    left = [held.metadata.name for held in run.world.kube.devices() if held.metadata.name in _BAD_IDS]
    assert not left, f"devices were created: {left}"
    with closing(IdentityProbe(run.world)) as identity:
        users = [bad for bad in _BAD_IDS if identity.machines(bad)]
    assert not users, f"machine users were made: {users}"


@bad_ids.step(
    "Look for what is not there",
    refused("fleet device show nobody", 4, contains=("nobody", "fleet device list")),
    refused("fleet device revoke nobody", 4, contains=("nobody", "fleet device list")),
    refused("fleet deployment show nothing", 4, contains=("nothing", "fleet deployment list")),
)
def not_found(_run: Run) -> None:
    """Each ends with exit code 4 and says how to list what is there."""


@bad_ids.step(
    "Apply a file that is none",
    refused("fleet deployment apply --file broken.json", 2, contains="broken.json"),
    refused("fleet deployment apply --file missing.json", 2, contains="missing.json"),
    refused("fleet deployment apply --file misspelt.yaml", 2, contains="did you mean selector?"),
    files={
        "broken.json": '{"kind": "FleetDeployment"\n',
        "misspelt.yaml": "metadata: {name: misspelt}\nspec:\n  selecter: {matchLabels: {site: nowhere}}\n"
        "  workload: {image: nginx}\n",
    },
)
def file_refused(run: Run) -> None:
    """Each ends with exit code 2, the last one with the name that was meant; nothing is applied."""
    assert run.world.kube.deployment("misspelt") is None


_STRAYS: tuple[tuple[Bucket[Any], str, bytes], ...] = (
    (DEVICE_INFO, "Not.A.Device.At.All", b"{}"),
    (DEVICE_STATE, "lonely", b'{"type":"state"}'),
    (DEVICE_STATE, "ghost", b"not json"),
    (DEVICE_STATE, "wrong", b'{"type":"states","states":[]}'),
    (DEVICE_STATE, "future", b'{"type":"hologram","generation":1}'),
    (DEVICE_INFO, "UPPER", b'{"type":"info"}'),
    (DEVICE_HEARTBEAT, "{device}x", b"\xff\xfe\x00"),
    (DESIRED_STATE, "{device}.stranger", b'{"type":"desired","generation":1}'),
    (DEVICE_HEARTBEAT, "huge", b"[" * DEVICE_HEARTBEAT.largest),
)
"""Foreign keys, broken JSON, wrong types, unknown variants, binary, as large as the bucket takes."""
_COUNTER = "fleet_operator_skipped_keys_total"

stray_keys = Scenario(
    id="stray-keys",
    title="Find rubbish in the buckets",
    chapter="Bad input",
    why="Whatever somebody writes into a bucket is logged once, counted and skipped; the operator goes on.",
    devices=1,
)


@dataclass(frozen=True)
class BeforeStrays:
    """The workload's life, the operator's process, and its counter of strays."""

    container: str
    operator: int | None
    counted: float


@stray_keys.step("Run something that must not be harmed", web())
def runs(run: Run) -> None:
    """It runs, and the operator's process is noted."""
    checks.ready(run)
    run.keep(
        BeforeStrays(
            checks.container(run).life,
            run.world.components()["operator"].pid,
            metric(run.world, "operator", _COUNTER),
        )
    )


@stray_keys.step("Write rubbish into the buckets", look_at=("operator",))
def written(run: Run) -> None:
    """Each of the entries is counted as a skipped key."""
    strays = _strays(run)
    for bucket, key, data in strays:
        run.world.nats.put_raw(bucket, key, data)
    before = run.kept(BeforeStrays).counted
    wait_until(
        lambda: metric(run.world, "operator", _COUNTER),
        f"{len(strays)} strays are counted in {_COUNTER}",
        timeout=checks.ROLLOUT,
        until=lambda counted: counted >= before + len(strays),
    )


@stray_keys.step(
    "See that everything else goes on",
    job(),
    "fleet device show {device}",
    look_at=("operator", "agent:device"),
)
def goes_on(run: Run) -> None:
    """A new deployment is rolled out, the old one is untouched, and the operator is the same process as before.

    Its log names each of the stray keys once.
    """
    checks.ready(run, "deployment2")
    checks.container(run, "deployment2")
    assert checks.container(run).life == run.kept(BeforeStrays).container, "a healthy workload was touched"
    assert is_online(checks.device(run))
    assert run.world.components()["operator"].pid == run.kept(BeforeStrays).operator, "the operator was restarted"
    log = (run.world.root / "logs" / "operator.log").read_text(errors="replace").splitlines()
    for _bucket, key, _data in _strays(run):
        named = [line for line in log if f'"{key}"' in line]
        assert len(named) == 1, f"{key} is named {len(named)} times in the operator's log"


@stray_keys.step("Clear the rubbish away")
def cleared(run: Run) -> None:
    """The entries can be deleted like any other."""
    for bucket, key, _data in _strays(run):
        run.world.nats.delete(bucket, key)
        assert run.world.nats.raw(bucket, key) is None, f"{bucket.name}/{key} is still there"


def _strays(run: Run) -> list[tuple[Bucket[Any], str, bytes]]:
    return [(bucket, key.replace("{device}", run.name("device")), data) for bucket, key, data in _STRAYS]


bad_workloads = Scenario(
    id="bad-workloads",
    title="Ask for a workload that cannot run",
    chapter="Bad input",
    why="A fault of a device has one word and one sentence, where an admin looks first.",
    devices=1,
)


@bad_workloads.step(
    "Ask for an image that does not exist",
    web_without_image(),
    look_at=("agent:device",),
)
def image_missing(run: Run) -> None:
    """The device reports `Failed` (`ImageNotFound`) with the image's name; the deployment says `DevicesFailed`."""
    state = checks.reported(run, Phase.FAILED, Reason.IMAGE_NOT_FOUND)
    assert "fleet-test/missing:1" in state.message
    _fails(run, "deployment")


def _fails(run: Run, placeholder: str) -> None:
    name = run.name(placeholder)
    held = wait_until(
        lambda: run.world.kube.deployment(name),
        f"{name} says that a device has failed",
        timeout=checks.ROLLOUT,
        until=lambda held: checks.says(held, "Ready", "False", "DevicesFailed"),
    )
    assert held is not None
    counted = held.status
    assert (counted.matched, counted.ready, counted.failed) == (1, 0, 1), f"counted: {counted}"


@dataclass(frozen=True)
class Healthy:
    """The container of the workload that stays healthy."""

    life: str


@bad_workloads.step("Correct the image", web(), look_at=("agent:device",))
def corrected(run: Run) -> None:
    """It runs without further help when the command returns."""
    checks.ready(run)
    run.keep(Healthy(checks.container(run).life))


@bad_workloads.step(
    "Run something that crashes at once",
    job_that_crashes(),
    look_at=("agent:device",),
)
def crashes(run: Run) -> None:
    """The device reports that it keeps crashing (`CrashLoop`) and its exit code; the other workload is untouched."""
    name = f"{run.name('device')}.{run.name('deployment2')}"
    wait_until(
        lambda: state_of(run.world.nats.get(DEVICE_STATE, run.name("device")), run.name("deployment2")),
        f"{name} reports a crash loop, and the exit code",
        timeout=checks.ROLLOUT,
        until=lambda held: held is not None and held.reason is Reason.CRASH_LOOP and "exit code 3" in held.message,
    )
    assert checks.container(run).life == run.kept(Healthy).life


@bad_workloads.step("Run something that is not well", job_that_is_not_well(), look_at=("agent:device",))
def not_well(run: Run) -> None:
    """It runs, and its health check fails: the device reports `Unhealthy` (`HealthCheckFailed`).

    The deployment says `DevicesFailed`.
    """
    checks.reported(run, Phase.UNHEALTHY, Reason.HEALTH_CHECK_FAILED, "deployment2")
    _fails(run, "deployment2")
    assert checks.container(run).life == run.kept(Healthy).life


@bad_workloads.step(
    "Give two workloads the same port",
    web_on_port(),
    job_on_port(),
    look_at=("agent:device",),
)
def port_taken(run: Run) -> None:
    """The second one is reported as `PortInUse` with the port; the first keeps running."""
    first = checks.container(run).life
    state = checks.reported(run, Phase.FAILED, Reason.PORT_IN_USE, "deployment2")
    assert run.name("port") in state.message
    assert checks.container(run).life == first, "the first was started again"


@bad_workloads.step("Ask for more than the device's owner allows", job_with_privileges(), look_at=("agent:device",))
def not_allowed(run: Run) -> None:
    """The device reports `NotAllowed` and what it is about; what runs goes on."""
    state = checks.reported(run, Phase.FAILED, Reason.NOT_ALLOWED, "deployment2")
    assert "privileged" in state.message
    _fails(run, "deployment2")
    assert checks.container(run).life, "the other workload was ended"
