"""Each command that the page offers is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from typing import Any, Literal

import msgspec
import pytest
import typer
from typer.main import get_command

from fleet.cli.main import app
from fleet.cli.reasons import DEPLOYMENTS, DEVICES, UPGRADES, Table
from fleet.cli.suggestions import for_deployment, for_device, for_server
from fleet.cli.trouble import device_troubles, helpful_commands
from fleet.contract.objects import Condition, DeploymentStatus, Device, DeviceSpec, DeviceStatus, Metadata
from fleet.contract.sealed import withheld
from fleet.contract.volumes import VolumeOrder
from fleet.web.objects import Deployment, Meta, Spec, withheld_secret


def parsed(line: str) -> None:
    """Parse a command to its end, without running it."""
    command: Any = get_command(app)
    words = shlex.split(line)[1:]
    context = typer.Context(command, info_name="fleet")
    while hasattr(command, "resolve_command"):
        _, found, words = command.resolve_command(context, words)
        assert found is not None, line
        command, context = found, typer.Context(found, info_name=found.name, parent=context)
    command.parse_args(context, list(words))


@pytest.mark.parametrize("namespace", ["fleet-system", "elsewhere"])
def test_the_command_line_takes_them(namespace: str) -> None:
    every = [
        *for_device("pi-1", tuple(DEVICES), namespace, ("web",)),
        *for_deployment("web", namespace, failing="pi-1", may_go_back=True),
        *for_server(namespace),
    ]
    ours = [line for line in every if line.startswith("fleet ")]
    assert len(ours) > 5
    for line in ours:
        parsed(line)
        setup = line.startswith("fleet device setup")
        assert setup or ("--namespace elsewhere" in line) == (namespace == "elsewhere"), line
    with pytest.raises(typer.TyperException):
        parsed("fleet device release pi-1 --nonsense")


Status = Literal["True", "False", "Unknown"]
VOLUME = VolumeOrder("web", "data", "2026-01-01T00:00:00Z", "c1")


@pytest.mark.parametrize("table", [DEVICES, UPGRADES, DEPLOYMENTS], ids=["devices", "upgrades", "deployments"])
def test_the_command_that_a_next_step_names_is_offered_with_its_names(table: Table) -> None:
    for reason, advice in table.items():
        orders = [VOLUME] if reason == "NotAnswered" else []
        for_one = for_device("pi-1", (reason,), "fleet-system", version="v0.1.2", unanswered=orders)
        for_all = for_deployment("web", "fleet-system", reason, may_go_back=True)
        offered = for_all if table is DEPLOYMENTS else for_one
        for line in offered:
            if line.startswith("fleet "):
                parsed(line)
        named = re.findall(r"`(fleet [^`]+)`", advice.next_step)
        verbs = {" ".join(one.split()[:3]) for one in named}
        assert not verbs or any(line.startswith(tuple(verbs)) for line in offered), (reason, offered)


def _device(reason: str, kind: str, *, status: Status = "True") -> Device:
    """A device with one condition, for which a version is wanted, and an order of a volume of a former identity."""
    orders = (VOLUME, msgspec.structs.replace(VOLUME, name="cache", order="c2", former="pi-1@4a0f26d1c3b5e798"))
    spec = DeviceSpec(agent_version="v0.1.2", remove_volumes=orders if reason == "NotAnswered" else ())
    told = (Condition(kind, status, reason, "", "2026-01-01T00:00:00Z"),)
    return Device(Metadata("pi-1"), spec, DeviceStatus(conditions=told))


@pytest.mark.parametrize(
    ("reason", "kind", "status", "expected"),
    [
        ("NotTakenYet", "BundleOutdated", "True", ["fleet secrets rotate ca_key --leave-behind pi-1"]),
        ("LeftBehind", "BundleOutdated", "True", ["fleet secrets bundle"]),
        (
            "NotAnswered",
            "VolumesOrdered",
            "True",
            [
                "fleet device remove-volume pi-1 data --deployment web --cancel",
                "fleet device remove-volume pi-1 cache --deployment web --former pi-1@4a0f26d1c3b5e798 --cancel",
            ],
        ),
        (
            "NotUpgradable",
            "Upgraded",
            "False",
            [
                "fleet device setup --config pi-1.json --agent fleet-agent-v0.1.2 --trusted-keys trusted-keys.json",
            ],
        ),
    ],
)
def test_a_device_is_offered_the_exact_command_of_what_it_waits_for(
    reason: str, kind: str, status: Status, expected: list[str]
) -> None:
    device = _device(reason, kind, status=status)
    commands = helpful_commands(device, device_troubles(device, ()), (), "fleet-system")
    commands = [one for one in commands if one != "fleet server status"]
    assert commands[: len(expected)] == expected
    assert commands[len(expected)] == "fleet device show pi-1"
    for line in expected:
        parsed(line)


def test_a_device_that_is_online_is_not_to_be_left_behind() -> None:
    """It takes the new authority by itself, within seconds."""
    device = _device("NotTakenYet", "BundleOutdated")
    online = Condition("Online", "True", "HeartbeatReceived", "", "2026-01-01T00:00:00Z")
    status = msgspec.structs.replace(device.status, conditions=(*device.status.conditions, online))
    device = msgspec.structs.replace(device, status=status)
    assert helpful_commands(device, device_troubles(device, ()), (), "fleet-system")[0] == "fleet device show pi-1"


def _withheld(message: str, *, status: Status = "False", observed: int = 1) -> Deployment:
    ready = Condition("Ready", status, "SecretNotSealable", message, "2026-01-01T00:00:00Z")
    told = DeploymentStatus(observed_generation=observed, conditions=(ready,))
    return Deployment(Meta("web", 1), Spec(), told)


def test_a_secret_that_devices_may_not_have_is_named_in_the_command_and_only_in_the_operators_words() -> None:
    """A device could write another Secret's name into what it says, and have an admin give it away."""
    message = f"{withheld('web-token')}; 0 of 3 devices run generation 1 with what they have"
    command = for_deployment("web", "elsewhere", withheld=withheld_secret(_withheld(message)))[0]
    assert command == "kubectl label secret web-token fleet.nationtech.io/sealable=true -n elsewhere"
    others = (
        _withheld(message, status="True"),
        _withheld(message, observed=0),
        _withheld(f"pi-1: {message}"),
        _withheld(message.replace("label secret web-token", "label secret other")),
        _withheld(withheld("web; reboot")),
    )
    assert [withheld_secret(one) for one in others] == [""] * len(others)


def test_what_helps_most_comes_first() -> None:
    assert for_device("pi-1", ("Flooding",), "fleet-system")[0] == "fleet device release pi-1"
    assert for_device("pi-1", (), "fleet-system")[0] == "fleet device show pi-1"
