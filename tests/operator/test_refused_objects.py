"""What no device could run, and what is out of bounds, `kubectl` refuses with a sentence; our command line the same."""

from __future__ import annotations

import json

import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import API_VERSION, Device, FleetDeployment
from fleet.contract.wire import from_builtins
from tests.support.kube import Kube

Json = dict[str, object]
LONG = "a" * 64


def of_workload(**fields: object) -> Json:
    return {"kind": "FleetDeployment", "spec": {"workload": {"type": "container", "image": "web:1", **fields}}}


def of_selector(**labels: object) -> Json:
    workload = {"type": "container", "image": "web:1"}
    return {"kind": "FleetDeployment", "spec": {"workload": workload, "selector": {"matchLabels": labels}}}


def of_device(**spec: object) -> Json:
    return {"kind": "Device", "spec": spec}


REFUSED: dict[str, Json] = {
    "an image with a scheme": of_workload(image="https://registry.example.org/team/app:1"),
    "an image with capital letters": of_workload(image="registry.example.org/Team/app:1"),
    "an image of a long tag": of_workload(image="app:" + "t" * 129),
    "no image": of_workload(image=""),
    "one port twice": of_workload(ports=[{"host": 80, "container": 1}, {"host": 80, "container": 2}]),
    "one port twice, once by default": of_workload(
        ports=[{"host": 80, "container": 1, "protocol": "tcp"}, {"host": 80, "container": 2}]
    ),
    "an empty program": of_workload(command=[""]),
    "an empty check": of_workload(health={"command": [""]}),
    "a check of nothing": of_workload(health={"command": []}),
    "1e300 s between checks": of_workload(health={"command": ["true"], "interval": 1e300}),
    "a variable with =": of_workload(env={"A=B": "1"}),
    "a variable without a name": of_workload(env={"": "1"}),
    "too many arguments": of_workload(args=["a"] * 257),
    "a long argument": of_workload(args=["a" * 32769]),
    "a selector's value": of_selector(ring="not a value"),
    "a selector's long value": of_selector(ring=LONG),
    "a selector's name": of_selector(**{"not a name": "r"}),
    "a selector's long name": of_selector(**{LONG: "r"}),
    "a label's value": of_device(labels={"ring": "-"}),
    "a label's name": of_device(labels={"a/b/c": "x"}),
    "too many labels": of_device(labels={f"l{number}": "" for number in range(65)}),
    "a large order": of_device(agentOrder=2**53),
    "a long version": of_device(agentVersion="v1.0.0-" + LONG),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_both_doors_refuse_it(kinds: Kube, content: Json) -> None:
    wanted = {"apiVersion": API_VERSION, "metadata": {"name": "refused"}, **content}
    with pytest.raises(InvalidInput):
        from_builtins(wanted, Device if content["kind"] == "Device" else FleetDeployment)
    with pytest.raises(AssertionError, match="is invalid"):
        kinds.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(wanted))


TAKEN: dict[str, Json] = {
    "all of a workload": of_workload(
        image="registry.example:5000/team/app:1@sha256:" + "a" * 64,
        command=["sh", ""],
        args=["", "x"],
        env={"A_b.c-d": "é=\n"},
        ports=[{"host": 53, "container": 53}, {"host": 53, "container": 53, "protocol": "udp"}],
        health={"command": ["true", ""], "interval": 86400},
    ),
    "labels": of_device(labels={"example.org/ring": "R_1", "empty": ""}, agentVersion="v1.2.3-rc.1"),
    "nothing": of_device(),
}


@pytest.mark.parametrize("content", TAKEN.values(), ids=TAKEN)
def test_both_doors_take_it(kinds: Kube, content: Json) -> None:
    wanted = {"apiVersion": API_VERSION, "metadata": {"name": "taken"}, **content}
    from_builtins(wanted, Device if content["kind"] == "Device" else FleetDeployment)
    kinds.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(wanted))
