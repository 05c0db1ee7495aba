"""Rollouts under way on the first screen: what keeps them, and the devices that they wait for."""

from __future__ import annotations

import html
import re

import httpx

from tests.support.web import OFFLINE, Json, RunningPage, condition, deployment, device, workload

FAILED = condition("Ready", "False", "DevicesFailed", "pi-3: CrashLoop")


def text(viewer: httpx.Client, path: str = "/") -> str:
    """What a person reads there."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", viewer.get(path).text)).split())


def rolling(*conditions: Json, generation: int = 2) -> Json:
    """A deployment in its second generation."""
    item = deployment("web", FAILED, failed=1, observedGeneration=2)
    item["metadata"]["generation"] = generation
    item["status"]["conditions"] = list(conditions)
    return item


def test_a_rollout_names_the_devices_that_it_waits_for(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(
        device("pi-1", site="lab", workloads=[workload("web", "Running", "Healthy", generation=2)]),
        device("pi-2", OFFLINE, site="lab", workloads=[workload("web", "Running", "Healthy")]),
        device("pi-3", site="lab", workloads=[workload("web", "Restarting", "CrashLoop", generation=2)]),
        device("pi-4", OFFLINE, site="elsewhere"),
        device("pi-5", OFFLINE, site="lab", workloads=[workload("web", "Running", "Healthy", generation=2)]),
        deployments=(rolling(FAILED, condition("Progressing", "False", "Halted", "1 failed, 1 may")),),
    )
    shown = text(viewer)
    assert "It waits for pi-3 (CrashLoop), pi-2 (HeartbeatMissed)." in shown
    assert "DevicesFailed, halted" in shown
    assert "It does not run on some devices; the message names them. Next: See fleet deployment show." in shown


def test_of_many_only_some_are_named(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(
        *(device(f"pi-{number}", OFFLINE, site="lab") for number in range(9)),
        deployments=(rolling(condition("Ready", "False", "InProgress")),),
    )
    shown = text(viewer)
    assert "It waits for pi-0 (HeartbeatMissed)," in shown
    assert "pi-5 (HeartbeatMissed) and 3 more." in shown
    assert "halted" not in shown


def test_what_the_operator_has_not_seen_waits_for_the_operator(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1", site="lab"), deployments=(rolling(FAILED, generation=3),))
    shown = text(viewer)
    assert "the operator has not seen this change yet" in shown
    assert "It waits for" not in shown
    assert "under way" in shown


def test_a_rollout_that_has_ended_is_not_under_way(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(
        device("pi-3", site="lab", workloads=[workload("web", "Restarting", "CrashLoop", generation=2)]),
        deployments=(rolling(FAILED, condition("Progressing", "False", "Failed", "every device has reported")),),
    )
    shown = text(viewer)
    assert "It is not ready on pi-3 (CrashLoop)." in shown
    assert "under way" not in shown
    assert "It waits for" not in shown
