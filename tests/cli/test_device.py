"""`fleet device list|show|revoke|delete|setup` with a real API server; the test plays the operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.contract.config import AgentConfig, load_config
from fleet.contract.objects import API_VERSION, ContainerStatus, Device, WorkloadStatus
from fleet.contract.wire import from_builtins
from harness.probes.kube import KubeProbe
from harness.wait import wait_until
from tests.cli.conftest import PAT, Background, Fleet, Json, Place, server_id
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube

Start = Callable[..., Background]


def state(idp: Idp, name: str) -> list[str]:
    query = {"userNameQuery": {"userName": f"fleet-{server_id()}-{name}.", "method": "TEXT_QUERY_METHOD_STARTS_WITH"}}
    found: list[dict[str, Any]] = idp.made("/users/_search", {"queries": [query]}).get("result", [])
    return [user["state"] for user in found]


def test_a_list_for_people_and_for_programs(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None]
) -> None:
    assert fleet("device", "list").out == "no devices\n"
    device("pi-2")
    device("pi-1")
    says("pi-1", "Online", "True", "HeartbeatReceived")
    lines = fleet("device", "list").out.splitlines()
    assert lines[0].split() == ["ID", "ONLINE", "REASON", "REVOKED", "AGENT", "LABELS"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["pi-1", "True", "HeartbeatReceived"],
        ["pi-2", "Unknown", "NotYetSeen"],
    ]
    items = [from_builtins(item, Device) for item in fleet("device", "list", "-o", "json").json]
    assert [item.metadata.name for item in items] == ["pi-1", "pi-2"]


def test_what_was_said_of_the_generation_before_is_not_said_of_this_one(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None], kube: Kube, namespace: str
) -> None:
    device("pi-1")
    says("pi-1", "Revoked", "True", "SessionsDropped")
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", '{"spec": {"revoked": true}}')
    assert fleet("device", "list").out.splitlines()[1].split()[3] == "pending"
    shown = fleet("device", "show", "pi-1").out
    assert "Unknown (NotYetSeen)" in shown
    assert "True (SessionsDropped)" not in shown.replace("it said True (SessionsDropped)", "")
    says("pi-1", "Revoked", "True", "SessionsDropped")
    assert fleet("device", "list").out.splitlines()[1].split()[3] == "yes"


def test_one_device(fleet: Fleet, device: Callable[[str], None], says: Callable[..., None]) -> None:
    device("pi-1")
    says("pi-1", "Online", "False", "HeartbeatMissed")
    assert "Online:" in fleet("device", "show", "pi-1").out
    item = from_builtins(fleet("device", "show", "pi-1", "--output", "json").json, Device)
    assert (item.api_version, item.kind, item.id) == (API_VERSION, "Device", "pi-1")


def test_a_device_that_is_away_shows_what_the_page_shows_of_it(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None], kube: Kube, namespace: str
) -> None:
    """What is wrong and since when, what to do, when it was heard last, and what ran then."""
    device("pi-1")
    says("pi-1", "Online", "False", "HeartbeatMissed")
    crash = WorkloadStatus("web", 1, "Restarting", "CrashLoop", "exit 1", since="2026-11-29T11:40:00Z")
    status = {"workloads": msgspec.to_builtins((crash,)), "lastHeartbeat": "2026-11-29T11:58:00Z"}
    patch = json.dumps({"status": status})
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--subresource=status", "--type=merge", "-p", patch)
    item = from_builtins(fleet("device", "show", "pi-1", "--output", "json").json, Device)
    lines = [" ".join(line.split()) for line in fleet("device", "show", "pi-1").out.splitlines()]
    since = item.status.conditions[0].last_transition_time
    assert lines[1:7] == [
        f"wrong: HeartbeatMissed (connection) since {since}: three of its heartbeats in a row were missed",
        "next: is it switched on, and on the network?",
        "wrong: CrashLoop (workload web, when last heard) since 2026-11-29T11:40:00Z: it exits again and again",
        "next: read its log",
        f"command: fleet device logs pi-1 --deployment web --namespace {namespace}",
        "heard: 2026-11-29T11:58:00Z",
    ]
    begin = lines.index("workloads, as they were when the device was last heard:")
    assert lines[begin + 2].startswith("web Restarting CrashLoop")
    says("pi-1", "Online", "True", "HeartbeatReceived")
    online = fleet("device", "show", "pi-1").out
    assert "recently" in next(line for line in online.splitlines() if line.startswith("heard: "))
    assert "wrong: " in online, "its workload crashes"


def test_of_a_device_that_was_never_heard_nothing_is_said_of_when_it_was(
    fleet: Fleet, device: Callable[[str], None], kube: Kube, namespace: str
) -> None:
    device("pi-1")
    waits = WorkloadStatus("web", 0, "Failed", "SecretUnusable", "it has no key", since="2026-11-29T11:40:00Z")
    patch = json.dumps({"status": {"workloads": msgspec.to_builtins((waits,))}})
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--subresource=status", "--type=merge", "-p", patch)
    shown = fleet("device", "show", "pi-1").out
    assert "last heard" not in shown
    assert "workloads, as they are ordered: the device was never heard:" in shown


def test_each_container_of_a_pod_has_a_row(
    fleet: Fleet, device: Callable[[str], None], kube: Kube, namespace: str
) -> None:
    device("pi-1")
    each = (ContainerStatus("db", "Running", "Healthy"), ContainerStatus("web", "Failed", "ImageNotFound"))
    stack = WorkloadStatus("stack", 1, "Failed", "ImageNotFound", "web: there is none", since="now", containers=each)
    alone = WorkloadStatus("job", 1, "Running", "Started", since="now")
    patch = json.dumps({"status": {"deployments": 3, "workloads": msgspec.to_builtins((stack, alone))}})
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--subresource=status", "--type=merge", "-p", patch)
    lines = fleet("device", "show", "pi-1").out.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("WORKLOAD "))
    assert [line.split()[:3] for line in lines[begin + 1 :]] == [
        ["stack", "Failed", "ImageNotFound"],
        ["db", "Running", "Healthy"],
        ["web", "Failed", "ImageNotFound"],
        ["job", "Running", "Started"],
        ["and", "1", "more"],
    ]
    assert lines[begin + 2].startswith("  db ")


@pytest.mark.parametrize("verb", ["show", "revoke", "delete"])
def test_a_device_that_is_not_there(fleet: Fleet, installed: Place, verb: str) -> None:
    del installed
    answer = fleet("device", verb, "pi-9")
    assert answer.code == 4
    assert "'pi-9'" in answer.err
    assert "fleet device list" in answer.err


def test_a_revocation_waits_for_the_sessions_and_then_locks_the_identity(
    start: Start, device: Callable[[str], None], says: Callable[..., None], probe: KubeProbe, idp: Idp
) -> None:
    device("pi-1")
    command = start("device", "revoke", "pi-1", *PAT)
    wait_until(lambda: (probe.device("pi-1") or never()).spec.revoked, "the Device says revoked", timeout=30)
    assert state(idp, "pi-1") == ["USER_STATE_ACTIVE"], "deny and drop first: a token outlives its user"
    assert not command.answers
    says("pi-1", "Revoked", "False", "Revoking")
    says("pi-1", "Revoked", "True", "SessionsDropped")
    answer = command.answer()
    assert answer.code == 0, answer.err
    assert answer.out == "pi-1 is revoked, and its session dropped; its identity: deactivated\n"
    assert state(idp, "pi-1") == ["USER_STATE_INACTIVE"]


def never() -> Device:
    raise AssertionError("the device is gone")


def test_a_repeated_revocation_is_fine(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None], idp: Idp
) -> None:
    device("pi-1")
    says("pi-1", "Revoked", "True", "SessionsDropped", ahead=1)
    for _ in range(2):
        answer = fleet("device", "revoke", "pi-1", *PAT, "--output", "json")
        assert answer.json == {
            "device": "pi-1",
            "revoked": True,
            "sessions": "dropped",
            "identity": "deactivated",
        }
    assert state(idp, "pi-1") == ["USER_STATE_INACTIVE"]


def test_a_revocation_without_a_login_says_what_it_did_not_do(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None], idp: Idp
) -> None:
    device("pi-1")
    says("pi-1", "Revoked", "True", "SessionsDropped", ahead=1)
    answer = fleet("device", "revoke", "pi-1")
    assert answer.code == 0
    assert "its identity: left as it is, since nobody is logged in at the provider (`fleet login`)" in answer.out
    assert state(idp, "pi-1") == ["USER_STATE_ACTIVE"]


def test_a_revocation_while_the_provider_is_down_still_drops_the_session(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None], idp: Idp
) -> None:
    device("pi-1")
    says("pi-1", "Revoked", "True", "SessionsDropped", ahead=1)
    idp.set(faults=[{"path": "/management/v1", "times": 99, "status": 503}])
    answer = fleet("device", "revoke", "pi-1", *PAT)
    assert answer.code == 0
    assert "is revoked" in answer.out
    assert "left as it is" in answer.out
    assert "warning: " in answer.err


def test_a_revocation_without_an_operator_says_what_it_last_saw(
    fleet: Fleet, device: Callable[[str], None], says: Callable[..., None], probe: KubeProbe
) -> None:
    device("pi-1")
    says("pi-1", "Revoked", "False", "NotRevoked")
    answer = fleet("device", "revoke", "pi-1", "--timeout", "0.3")
    assert answer.code == 8
    assert "last seen: Revoked=Unknown (NotYetSeen)" in answer.err
    says("pi-1", "Revoked", "False", "Revoking")
    answer = fleet("device", "revoke", "pi-1", "--timeout", "0.3")
    assert "last seen: Revoked=False (Revoking)" in answer.err
    assert "the revocation is recorded" in answer.err
    found = probe.device("pi-1")
    assert found is not None
    assert found.spec.revoked


def test_a_condition_of_an_earlier_life_does_not_count(
    device: Callable[[str], None], says: Callable[..., None], fleet: Fleet, probe: KubeProbe
) -> None:
    """Revoked, enrolled again, revoked again: the old `Revoked=True` may still stand when the command looks."""
    device("pi-1")
    says("pi-1", "Revoked", "True", "SessionsDropped", ahead=1)
    assert fleet("device", "revoke", "pi-1").code == 0
    assert fleet("device", "enroll", "--device-id", "pi-1", "--out", "pi-1.json", "--replace", *PAT).code == 0
    before = probe.device("pi-1")
    assert before is not None
    assert before.status.conditions[0].status == "True", "the operator is slow"
    answer = fleet("device", "revoke", "pi-1", "--timeout", "0.3")
    assert answer.code == 8, "believed a condition that is older than the revocation"


def test_a_deletion_waits_for_the_operator_and_removes_the_identity(
    start: Start, device: Callable[[str], None], probe: KubeProbe, kube: Kube, namespace: str, idp: Idp
) -> None:
    device("pi-1")
    command = start("device", "delete", "pi-1", *PAT, "--output", "json")
    wait_until(
        lambda: (probe.device("pi-1") or never()).metadata.deletion_timestamp, "the Device is leaving", timeout=10
    )
    assert not command.answers
    release(kube, namespace)
    answer = command.answer()
    assert answer.code == 0, answer.err
    assert answer.json == {"device": "pi-1", "deleted": True, "identity": "deleted"}
    assert state(idp, "pi-1") == []


def release(kube: Kube, namespace: str) -> None:
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')


def test_a_deletion_without_an_operator(
    fleet: Fleet, device: Callable[[str], None], kube: Kube, namespace: str, idp: Idp
) -> None:
    device("pi-1")
    answer = fleet("device", "delete", "pi-1", *PAT, "--timeout", "0.3")
    assert answer.code == 8
    assert "cleaned up by the operator" in answer.err
    assert state(idp, "pi-1") == ["USER_STATE_ACTIVE"]
    release(kube, namespace)


UNITS = "etc/systemd/system/fleet-agent.service"


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `systemctl` that writes down how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(
        '#!/bin/sh\necho "$FLEET_ROOT $*" >> "$0.log"\n[ ! -e "$0.fails" ] || { cat "$0.fails" >&2; exit 1; }\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program


def calls(systemctl: Path) -> list[str]:
    log = systemctl.with_name("systemctl.log")
    found = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line.split(" ", 1)[1] for line in found]


def test_a_set_up_and_a_second_one(fleet: Fleet, agent_config: Path, systemctl: Path) -> None:
    Path("root").mkdir()
    words = ("device", "setup", "--config", str(agent_config), "--root", "root")
    first = fleet(*words)
    assert first.code == 0, first.err
    assert calls(systemctl)[-1] == "restart fleet-agent.service"
    put = Path("root/etc/fleet/agent.json")
    assert load_config(put, AgentConfig) == load_config(agent_config, AgentConfig)
    assert put.stat().st_mode & 0o777 == 0o600
    second = fleet(*words)
    assert second.out == "the agent of pi-1 runs; nothing changed\n"
    assert "restart fleet-agent.service" not in calls(systemctl)


def test_a_new_configuration_restarts_the_agent(fleet: Fleet, agent_config: Path, systemctl: Path) -> None:
    Path("root").mkdir()
    words = ("device", "setup", "--config", str(agent_config), "--root", "root", "--output", "json")
    fleet(*words)
    calls(systemctl)
    config: Json = json.loads(agent_config.read_text())
    agent_config.write_text(json.dumps({**config, "natsUrl": "tls://other.example.org:4222"}))
    answer = fleet(*words)
    assert answer.json == {"device": "pi-1", "changed": ["/etc/fleet/agent.json"]}
    assert "restart fleet-agent.service" in calls(systemctl)


def test_a_set_up_that_broke_off_restarts_the_agent_when_repeated(
    fleet: Fleet, agent_config: Path, systemctl: Path
) -> None:
    """The files are there, but the agent that runs has not read them."""
    Path("root").mkdir()
    words = ("device", "setup", "--config", str(agent_config), "--root", "root")
    fails = systemctl.with_name("systemctl.fails")
    fails.write_text("Failed to connect to bus\n")
    answer = fleet(*words)
    assert answer.code == 1
    assert "Failed to connect to bus" in answer.err
    fails.unlink()
    calls(systemctl)
    assert fleet(*words).code == 0
    assert "restart fleet-agent.service" in calls(systemctl)


def test_a_machine_without_systemd(
    fleet: Fleet, agent_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = fleet("device", "setup", "--config", str(agent_config), "--root", ".")
    assert answer.code == 4
    assert "has no program systemctl" in answer.err
