"""Wrong input: refused or reported where it enters, and nothing else is harmed."""

from __future__ import annotations

import shlex
from typing import Any

from fleet.contract.buckets import (
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
    Bucket,
)
from fleet.contract.wire import Phase, Reason
from harness.commands import Result
from harness.preparation import is_online
from harness.probes.services import metric
from harness.runbook import Run
from harness.scenario import Scenario, refused
from harness.wait import wait_until
from scenarios import looks
from scenarios.workloads import job, job_on_port, job_that_crashes, web, web_on_port, web_without_image

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
def ids_refused(run: Run, *_results: Result) -> None:
    """Each ends with exit code 2 and the rule in words; no device, no file and no machine user is left behind."""
    assert not (run.folder / "no.json").exists()
    left = [held.metadata.name for held in run.world.kube.devices() if held.metadata.name in _BAD_IDS]
    assert not left, f"devices were created: {left}"


@bad_ids.step(
    "Look for what is not there",
    refused("fleet device show nobody", 4, contains="nobody"),
    refused("fleet device revoke nobody", 4, contains="nobody"),
    refused("fleet deployment show nothing", 4, contains="nothing"),
)
def not_found(_run: Run, *_results: Result) -> None:
    """Each ends with exit code 4 and says how to list what is there."""


@bad_ids.step(
    "Apply a file that is none",
    refused("fleet deployment apply --file broken.json", 2, contains="broken.json"),
    refused("fleet deployment apply --file missing.json", 2, contains="missing.json"),
    files={"broken.json": '{"kind": "FleetDeployment"\n'},
)
def file_refused(_run: Run, *_results: Result) -> None:
    """Both end with exit code 2 and name the file; nothing is changed."""


_STRAYS: tuple[tuple[Bucket[Any], str, bytes], ...] = (
    (DEVICE_STATE, "Not.A.Device.At.All", b"{}"),
    (DEVICE_STATE, "lonely", b'{"type":"state"}'),
    (DEVICE_STATE, "{device}.ghost", b"not json"),
    (DEVICE_STATE, "{device}.wrong", b'{"type":"state","generation":"seven","phase":"Running","reason":"Started"}'),
    (DEVICE_STATE, "{device}.future", b'{"type":"hologram","generation":1}'),
    (DEVICE_INFO, "UPPER", b'{"type":"info"}'),
    (DEVICE_HEARTBEAT, "{device}x", b"\xff\xfe\x00"),
    (DESIRED_STATE, "{device}.stranger", b'{"type":"desired","generation":1}'),
    (DEVICE_HEARTBEAT, "huge", b"[" * DEVICE_HEARTBEAT.largest),
)
"""Foreign keys, broken JSON, wrong types, unknown variants, binary, as large as the bucket takes."""
_COUNTER = "fleet_operator_strays_total"

stray_keys = Scenario(
    id="stray-keys",
    title="Find rubbish in the buckets",
    chapter="Bad input",
    why="Whatever somebody writes into a bucket is logged once, counted and skipped; the operator goes on.",
    devices=1,
)


@stray_keys.step("Run something that must not be harmed", web())
def runs(run: Run, _result: Result) -> None:
    """It runs, and the operator's process is noted."""
    looks.settled(run)
    run.keep(
        container=looks.running(run).id,
        operator=run.world.parts()["operator"].pid,
        counted=metric(run.world, "operator", _COUNTER),
    )


@stray_keys.step("Write rubbish into the buckets", look_at=("operator",))
def written(run: Run) -> None:
    """Each of the entries is counted as a stray."""
    strays = _strays(run)
    for bucket, key, data in strays:
        run.world.nats.put_raw(bucket, key, data)
    before = run.kept("counted", float)
    wait_until(
        lambda: metric(run.world, "operator", _COUNTER),
        f"{len(strays)} strays are counted in {_COUNTER}",
        timeout=looks.ROLLOUT,
        until=lambda counted: counted >= before + len(strays),
    )


@stray_keys.step(
    "See that everything else goes on",
    job(),
    "fleet device show {device}",
    look_at=("operator", "agent:device"),
)
def goes_on(run: Run, *_results: Result) -> None:
    """A new deployment is rolled out, the old one is untouched, and the operator is the same process as before.

    Its log names each of the stray keys once.
    """
    looks.settled(run, "deployment2")
    assert looks.running(run).id == run.kept("container", str), "a healthy workload was touched"
    assert is_online(looks.device(run))
    assert run.world.parts()["operator"].pid == run.kept("operator", int), "the operator was restarted"
    log = (run.world.root / "logs" / "operator.log").read_text(errors="replace").splitlines()
    for _bucket, key, _data in _strays(run):
        named = [line for line in log if f'"{key}"' in line]
        assert len(named) == 1, f"{key} is named {len(named)} times in the operator's log"


@stray_keys.step("Clear the rubbish away")
def cleared(run: Run) -> None:
    """The entries can be deleted like any other."""
    for bucket, key, _data in _strays(run):
        run.world.nats.delete(bucket, key)


def _strays(run: Run) -> list[tuple[Bucket[Any], str, bytes]]:
    return [(bucket, key.replace("{device}", run.name("device")), data) for bucket, key, data in _STRAYS]


bad_workloads = Scenario(
    id="bad-workloads",
    title="Ask for a workload that cannot run",
    chapter="Bad input",
    why="What goes wrong on a device is told in one word and one sentence, where an admin looks first.",
    devices=1,
)


@bad_workloads.step(
    "Ask for an image that does not exist",
    web_without_image(),
    look_at=("agent:device",),
)
def image_missing(run: Run, _result: Result) -> None:
    """The device reports `Failed` (`ImageNotFound`) with the image's name; the deployment says `DevicesFailed`."""
    state = looks.reported(run, Phase.FAILED, Reason.IMAGE_NOT_FOUND)
    assert "fleet-test/missing:1" in state.message
    name = run.name("deployment")
    wait_until(
        lambda: run.world.kube.deployment(name),
        f"{name} says that a device has failed",
        timeout=looks.ROLLOUT,
        until=lambda held: looks.says(held, "Ready", "False", "DevicesFailed"),
    )


@bad_workloads.step("Correct the image", web(), look_at=("agent:device",))
def corrected(run: Run, _result: Result) -> None:
    """It runs without further help."""
    looks.settled(run)
    run.keep(web=looks.running(run).id)


@bad_workloads.step(
    "Run something that crashes at once",
    job_that_crashes(),
    look_at=("agent:device",),
)
def crashes(run: Run, _result: Result) -> None:
    """The device reports that it keeps crashing (`CrashLoop`) and its exit code; the other workload is untouched."""
    name = f"{run.name('device')}.{run.name('deployment2')}"
    state = wait_until(
        lambda: run.world.nats.get(DEVICE_STATE, name),
        f"{name} reports a crash loop",
        timeout=looks.ROLLOUT,
        until=lambda held: held is not None and held.reason is Reason.CRASH_LOOP,
    )
    assert state is not None
    assert "3" in state.message, f"the exit code is not in {state.message!r}"
    assert looks.running(run).id == run.kept("web", str)


@bad_workloads.step(
    "Give two workloads the same port",
    web_on_port(),
    job_on_port(),
    look_at=("agent:device",),
)
def port_taken(run: Run, *_results: Result) -> None:
    """The second one is reported as `PortInUse` with the port; the first keeps running."""
    state = looks.reported(run, Phase.FAILED, Reason.PORT_IN_USE, "deployment2")
    assert run.name("port") in state.message
    looks.running(run)
