"""`fleet device doctor`: each trouble of a device is named with its next step."""

from __future__ import annotations

import msgspec
import pytest

from fleet.cli.device_doctor import examine
from fleet.contract.disk import DiskUsage
from fleet.contract.names import AgentVersion
from fleet.contract.objects import Condition, Device, DeviceStatus, Metadata, WorkloadStatus
from fleet.contract.wire import DeviceInfo
from fleet.doctor.findings import Finding, State

SINCE = "2026-11-29T10:00:00Z"
RELEASE = "v0.1.0"
INFO = DeviceInfo(
    AgentVersion(RELEASE), "arm64", "Debian 12", "6.1", 1, 1, "boot", "agent", "podman 5", None, DiskUsage(900, 100)
)


def condition(kind: str, status: str, reason: str) -> Condition:
    told = {"type": kind, "status": status, "reason": reason, "message": "as it is", "lastTransitionTime": SINCE}
    return msgspec.convert(told, Condition)


WELL = (
    condition("Enrolled", "True", "IdentityRegistered"),
    condition("Online", "True", "HeartbeatReceived"),
    condition("Revoked", "False", "NotRevoked"),
)


def device(
    *conditions: Condition, workloads: tuple[WorkloadStatus, ...] = (), info: DeviceInfo | None = INFO
) -> Device:
    kinds = {one.type for one in conditions}
    held = (*(one for one in WELL if one.type not in kinds), *conditions)
    return Device(Metadata("pi-1"), status=DeviceStatus(info, None, len(workloads), workloads, held))


def trouble(item: Device) -> list[Finding]:
    return [one for one in examine(item, RELEASE) if one.state is not State.OK]


def test_a_device_that_is_well_has_no_trouble() -> None:
    runs = WorkloadStatus("web", 1, "Running", "Healthy", since=SINCE)
    assert trouble(device(workloads=(runs,))) == []
    assert {one.check for one in examine(device(workloads=(runs,)), RELEASE)} >= {"Online", "deployment web", "disk"}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (("Online", "False", "HeartbeatMissed"), State.FAILED),
        (("Online", "Unknown", "NatsSilent"), State.WARNING),
        (("Online", "Unknown", "NeverSeen"), State.WARNING),
        (("Enrolled", "False", "SubjectTaken"), State.FAILED),
        (("Enrolled", "False", "NoSubject"), State.FAILED),
        (("Revoked", "True", "SessionsDropped"), State.FAILED),
        (("Quarantined", "True", "Flooding"), State.FAILED),
        (("DuplicateIdentity", "True", "TwoDevicesBeat"), State.FAILED),
        (("ClockDiffers", "True", "ClockWrong"), State.WARNING),
        (("BundleOutdated", "True", "LeftBehind"), State.WARNING),
        (("InfoAccepted", "False", "InfoRefused"), State.WARNING),
        (("Cordoned", "True", "Cordoned"), State.WARNING),
    ],
    ids=str,
)
def test_each_condition_in_trouble_is_named_with_its_next_step(status: tuple[str, str, str], state: State) -> None:
    (found,) = trouble(device(condition(*status)))
    assert (found.check, found.state) == (status[0], state)
    assert found.says.startswith(f"{status[2]} since {SINCE}: as it is")
    assert found.next
    assert "fleet device events" not in found.next, "the reason has advice of its own"


@pytest.mark.parametrize(
    ("phase", "reason", "state"),
    [
        ("Failed", "ImageNotFound", State.FAILED),
        ("Running", "StateNotSaved", State.WARNING),
        ("Pending", "Pulling", State.WARNING),
    ],
)
def test_each_workload_in_trouble_is_named(phase: str, reason: str, state: State) -> None:
    (found,) = trouble(device(workloads=(WorkloadStatus("web", 2, phase, reason, since=SINCE),)))
    assert (found.check, found.state) == ("deployment web", state)
    assert reason in found.says
    assert found.next


@pytest.mark.parametrize(
    ("info", "check", "words"),
    [
        (None, "agent", "never said what it is"),
        (msgspec.structs.replace(INFO, agent_version=AgentVersion("v0.0.9")), "agent", "v0.0.9"),
        (msgspec.structs.replace(INFO, engine=""), "engine", "no engine"),
        (msgspec.structs.replace(INFO, disk_usage=DiskUsage(50, 100)), "disk", "are free"),
    ],
    ids=["silent", "older-agent", "no-engine", "full-disk"],
)
def test_what_it_says_of_itself_is_looked_at(info: DeviceInfo | None, check: str, words: str) -> None:
    (found,) = trouble(device(info=info))
    assert found.check == check
    assert words in found.says
    assert found.next


def test_a_device_of_which_nothing_is_known_is_not_well() -> None:
    found = trouble(Device(Metadata("pi-1")))
    assert [one.check for one in found] == ["Enrolled", "Online", "agent"]


@pytest.mark.parametrize(("status", "reason"), [("False", "HeartbeatMissed"), ("Unknown", "NatsSilent")])
def test_what_a_device_said_before_it_was_away_is_no_word_of_now(status: str, reason: str) -> None:
    runs = WorkloadStatus("web", 1, "Running", "Healthy", since=SINCE)
    for one in examine(device(condition("Online", status, reason), workloads=(runs,)), RELEASE):
        about_now = one.check in {"Enrolled", "Online", "Revoked"}
        assert one.says.startswith("when last heard: ") is not about_now, one
