"""Numbers and states on the screens are of what their labels say."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from tests.support.web import OFFLINE, RunningPage, condition, deployment, device, workload

RUNS = workload("web", "Running", "Started")
PROBLEM = "StateNotSaved"


def text(viewer: httpx.Client, path: str) -> str:
    """What a person reads there."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", viewer.get(path).text)).split())


def test_a_group_counts_devices_and_says_of_each_all_that_it_has(page: RunningPage, viewer: httpx.Client) -> None:
    """A device with two troubles of one reason is one device, with both."""
    older, newer = "2026-11-29T12:10:00Z", "2026-11-29T12:30:00Z"
    crashes = [{**workload(name, "Restarting", "CrashLoop", f"of {name}"), "since": older} for name in ("web", "cron")]
    page.show(
        *(device(f"a-{number:02}", workloads=crashes) for number in range(13)),
        device("b-1", workloads=[{**crashes[0], "since": newer}]),
    )
    text = html.unescape(viewer.get("/").text)
    assert re.findall(r'<h3>CrashLoop <span class="count">(\d+)</span>', text) == ["14"]
    assert "and 2 more" in text
    assert [text.count(f">{name}</a> ") for name in ("b-1", "a-00", "a-10", "a-11")] == [1, 1, 1, 0]
    of_one = text.partition(">a-00</a>")[2].partition(">a-01</a>")[0]
    assert [of_one.count(said) for said in ("of web", "of cron", f'"{older}"')] == [1, 1, 2]
    assert text.index(newer) < text.index(older), "the newest first"


def test_a_deployment_says_of_which_devices_it_knows_only_the_past(page: RunningPage, viewer: httpx.Client) -> None:
    """One is offline, and one was revoked: neither is said to run it now."""
    item = deployment("web", condition("Ready", "True", "AllReady"))
    item["spec"]["selector"] = {}
    runs = workload("web", "Running", "Started")
    revoked = device("pi-3", workloads=[runs])
    revoked["spec"]["revoked"] = True
    page.show(device("pi-1", workloads=[runs]), device("pi-2", OFFLINE, workloads=[runs]), revoked, deployments=(item,))
    text = html.unescape(re.sub(r"<[^>]+>", "", viewer.get("/deployments/web").text))
    assert "pi-2 Started: as it was when the device was last heard: it is offline" in text
    assert text.count("as it was when the device was last heard") == 1
    assert "2 Running" in text
    assert "3 Running" not in text


@pytest.mark.parametrize("reason", ["AllReady", "ReadyWhenLastHeard", PROBLEM])
def test_a_deployment_is_not_called_ready_while_one_of_its_devices_is_offline(
    page: RunningPage, viewer: httpx.Client, reason: str
) -> None:
    """Also before the operator says so, and where it has to say something else."""
    item = deployment("web", condition("Ready", "True", reason), matched=2, updated=2, ready=2)
    item["spec"]["selector"] = {}
    other = deployment("other", condition("Ready", "True", "AllReady"), matched=2, updated=2, ready=2)
    page.show(device("pi-1", workloads=[RUNS]), device("pi-2", OFFLINE, workloads=[RUNS]), deployments=(item, other))
    head = text(viewer, "/deployments/web").partition("Devices by state")[0]
    assert "web ready when last heard Ready since" in head
    assert "2 ready (1 of them when last heard: not online now), 0 failed" in head
    listed = text(viewer, "/deployments")
    assert f"web ready when last heard {reason} " in listed
    assert "2 (1 not online)" in listed
    assert listed.index("web ready when last heard") < listed.index("other ready AllReady")
    page.change("Device", device("pi-2", version=2, workloads=[RUNS]))
    item["status"]["conditions"] = [condition("Ready", "True", "AllReady")]
    page.change("FleetDeployment", item)
    head = text(viewer, "/deployments/web").partition("Devices by state")[0]
    assert "web ready Ready since" in head
    assert "not online" not in head + text(viewer, "/deployments")


def test_a_rollout_says_how_many_of_the_ready_devices_are_offline(page: RunningPage, viewer: httpx.Client) -> None:
    item = deployment("web", condition("Ready", "False", "InProgress"), matched=3, updated=2, ready=2)
    item["spec"]["selector"] = {}
    page.show(
        device("pi-1", workloads=[RUNS]), device("pi-2", OFFLINE, workloads=[RUNS]), device("pi-3"), deployments=(item,)
    )
    assert "2 of 3 ready (1 of them not online now)," in text(viewer, "/")


def test_a_workload_of_a_device_that_is_away_is_said_to_be_old_news(page: RunningPage, viewer: httpx.Client) -> None:
    crash = workload("web", "Restarting", "CrashLoop")
    page.show(device("pi-1", OFFLINE, workloads=[crash]), device("pi-2", workloads=[crash]))
    past = "workload web, when last heard"
    for path in ("/", "/devices/pi-1"):
        assert text(viewer, path).count(past) == 1, path
    assert past not in text(viewer, "/devices/pi-2")
