"""What is said of an object that changed is what is so: also of a trouble that ended, and of a change not seen yet."""

from __future__ import annotations

import msgspec
import pytest

from fleet.contract.states import gathered
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.web.store import Store
from tests.support.web import Json, condition, deployment, device

FAILED = condition("Ready", "False", "DevicesFailed", "1 of 1 devices failed")

TROUBLE = condition("WorkloadTrouble", "True", "CrashLoop", "web: CrashLoop")


def lines(store: Store) -> list[str]:
    return [line.text for line in store.tail.since(0, 100)[0]]


def told(*changes: tuple[str, Json]) -> list[str]:
    """What a page says of these objects, one after the other."""
    store = Store()
    for kind, item in changes:
        store.apply_change(kind, msgspec.json.encode(item), deleted=False)
    return lines(store)


def test_a_trouble_that_ends_is_said_to_end() -> None:
    online = condition("Online", "True", "HeartbeatReceived")
    found = told(
        ("Device", device("pi-1", online, TROUBLE)),
        ("Device", device("pi-1", online, version=2)),
        ("Device", device("pi-1", online, version=3)),
    )
    assert found == ["created", "WorkloadTrouble ended"]


def test_a_change_that_the_operator_has_not_seen_has_not_failed() -> None:
    """Its status is still that of the generation before."""
    before, ordered = (deployment("web", FAILED, observedGeneration=1) for _ in range(2))
    before["metadata"]["generation"], ordered["metadata"]["generation"] = 1, 2
    found = told(("FleetDeployment", before), ("FleetDeployment", ordered))
    assert "generation 1 DevicesFailed" in found[0]
    assert found[1:] == ["web generation 2 is ordered; the operator has not seen it yet"]


@pytest.mark.parametrize("message", ["exit code 1", "restarted 12 times", "restarted 13 times"])
def test_a_crash_loop_is_one_since_it_began(message: str) -> None:
    """Its message changes with every restart. The operator counts since the phase or the reason changed, too."""
    clock = [1_795_956_000.0]
    store = Store(lambda: clock[0])
    store.apply_change("Device", msgspec.json.encode(device("pi-1")), deleted=False)

    def reported(reason: Reason, words: str) -> str:
        clock[0] += 60
        store.update_states("pi-1", gathered({"web": DeviceState(1, Phase.RESTARTING, reason, words)}))
        (shown,) = store.workloads("pi-1")
        return shown.since

    began = reported(Reason.CRASH_LOOP, "exit code 1")
    assert reported(Reason.CRASH_LOOP, message) == began
    assert reported(Reason.EXITED, message) > began
