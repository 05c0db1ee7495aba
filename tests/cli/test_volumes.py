"""`fleet device remove-volume`: what it orders, what it waits for, and what it refuses; volumes in `device show`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from fleet.contract.change import PATCHED
from fleet.contract.disk import DiskUsage
from fleet.contract.limits import MAX_VOLUME_ORDERS, MAX_VOLUMES_SHOWN
from fleet.contract.names import AgentVersion
from fleet.contract.objects import Device
from fleet.contract.volumes import VolumeOrder, VolumeOutcome, VolumeUsage
from fleet.contract.wire import DeviceInfo, encode
from harness.probes.kube import KubeProbe
from harness.wait import wait_until
from tests.cli.conftest import Background, Fleet
from tests.support.kube import Kube

INFO = DeviceInfo(AgentVersion("v0.1.0"), "x86_64", "Debian", "6.1", 1, 1, "boot")
FORMER = "pi-0@0123456789abcdef"
DATA = VolumeUsage("data", "web", 3 * 2**19, "5f")
Tell = Callable[..., None]


@pytest.fixture
def tell(device: Callable[[str], None], kube: Kube, namespace: str) -> Tell:
    """A device, and what it tells of its volumes, and of orders."""
    device("pi-1")

    def write(volumes: Sequence[VolumeUsage], *outcomes: VolumeOutcome) -> None:
        used = DiskUsage(free=2**30, floor=2**28, named_volumes=tuple(volumes))
        written = msgspec.structs.replace(INFO, disk_usage=used, volume_outcomes=outcomes)
        info = msgspec.json.decode(encode(written))
        # A merge would leave what is not said.
        patch = [{"op": "add", "path": "/status", "value": {"info": info}}]
        words = ("patch", "device", "pi-1", "--subresource=status", "--type=json", "-p")
        kube.kubectl("-n", namespace, *words, msgspec.json.encode(patch).decode())

    return write


def held(probe: KubeProbe) -> Device:
    found = probe.device("pi-1")
    assert found
    return found


def ordered(probe: KubeProbe) -> tuple[VolumeOrder, ...]:
    return held(probe).spec.remove_volumes


def first(probe: KubeProbe) -> VolumeOrder:
    """The order that the command gives, once it is there."""
    orders = wait_until(lambda: ordered(probe), "the order is given", timeout=30, until=bool)
    return orders[0]


@pytest.fixture
def remove(fleet: Fleet) -> Callable[..., Any]:
    return lambda *words: fleet("device", "remove-volume", "pi-1", *words, "--timeout", "0.5")


def test_volumes_are_shown_with_their_deployments(fleet: Fleet, tell: Tell) -> None:
    def shown(*volumes: VolumeUsage) -> list[list[str]]:
        tell(volumes)
        lines = fleet("device", "show", "pi-1").out.splitlines()
        heads = [number for number, line in enumerate(lines) if line.startswith("VOLUME ")]
        return [line.split() for line in lines[heads[0] :]] if heads else []

    head = ["VOLUME", "DEPLOYMENT", "AT", "LEAST", "CONTAINERS"]
    assert shown() == []
    assert shown(msgspec.structs.replace(DATA, containers=2), VolumeUsage("cache", "gone")) == [
        head,
        ["data", "web", "1.5", "MiB", "2"],
        ["cache", "gone", "0.0", "MiB", "-"],  # an agent of a former release counts none
    ]
    assert shown(DATA, VolumeUsage("old", "web", id="6f", former=FORMER)) == [
        [*head, "FORMER", "IDENTITY"],
        ["data", "web", "1.5", "MiB", "0", "-"],
        ["old", "web", "0.0", "MiB", "0", FORMER],
    ]
    full = shown(*(VolumeUsage(f"v{number}", "web") for number in range(MAX_VOLUMES_SHOWN)))
    assert len(full) == 1 + MAX_VOLUMES_SHOWN + 1
    assert " ".join(full[-1]) == "there may be more: a device tells of its largest"


def test_the_order_names_the_volume_by_its_id_and_says_who_gave_it(
    start: Callable[..., Background], tell: Tell, probe: KubeProbe
) -> None:
    tell([DATA, VolumeUsage("cache", "web", id="6f")])
    command = start("device", "remove-volume", "pi-1", "data", "--timeout", "30", "-o", "json")
    order = first(probe)
    assert order == VolumeOrder("web", "data", "5f", order.order)
    change = msgspec.json.decode(held(probe).metadata.annotations[PATCHED])
    assert (change["id"], change["command"]) == (order.order, "fleet device remove-volume")
    tell([DATA], VolumeOutcome("0" * 12, "InUse", "of another order"), VolumeOutcome(order.order, "Removed"))
    answer = command.answer()
    assert answer.code == 0, answer.err
    assert answer.json == {
        "device": "pi-1",
        "volume": "data",
        "change": order.order,
        "deployment": "web",
        "former": "",
        "outcome": "Removed",
    }


@pytest.mark.parametrize(
    ("reason", "code", "step"),
    [
        ("InUse", 5, "take the mount out of it"),
        ("NotFound", 4, "fleet device show"),
        ("EngineError", 1, "engine's log"),
        ("OfANewerAgent", 1, "fleet device show"),
    ],
)
def test_a_refusal_is_told_with_its_reason(
    start: Callable[..., Background], tell: Tell, probe: KubeProbe, reason: str, code: int, step: str
) -> None:
    tell([DATA])
    command = start("device", "remove-volume", "pi-1", "data", "--timeout", "30")
    tell([DATA], VolumeOutcome(first(probe).order, reason, "because\x1b[31m"))
    answer = command.answer()
    assert answer.code == code
    assert f"pi-1: data of web is not removed: {reason}: because" in answer.err
    assert step in answer.err
    assert "\x1b" not in answer.err


def test_an_order_to_a_device_that_is_away_stands_and_can_be_taken_back(
    remove: Callable[..., Any], tell: Tell, probe: KubeProbe, says: Callable[..., None]
) -> None:
    tell([DATA])
    says("pi-1", "Online", "False", "HeartbeatMissed")
    for _ in range(2):  # the second time it is the same order
        answer = remove("data")
        assert answer.code == 8
        assert "it is not online (HeartbeatMissed), and the order stands until it is back" in answer.err
        assert "--cancel takes it back" in answer.err
        assert len(ordered(probe)) == 1
    assert remove("data", "--cancel").out == "pi-1 is not to remove the volume data any more\n"
    assert ordered(probe) == ()
    answer = remove("data", "--cancel")
    assert (answer.code, "no order to remove the volume data" in answer.err) == (4, True)


def test_an_order_that_somebody_takes_back_is_waited_for_no_longer(
    fleet: Fleet, tell: Tell, probe: KubeProbe, kube: Kube, namespace: str
) -> None:
    def take_back() -> None:
        first(probe)
        patch = '{"spec": {"removeVolumes": null}}'
        kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", patch)

    tell([DATA])
    other = threading.Thread(target=take_back)
    other.start()
    answer = fleet("device", "remove-volume", "pi-1", "data", "--timeout", "60")
    other.join()
    assert (answer.code, "stands no more" in answer.err) == (5, True)


def test_which_volume_is_meant_must_be_clear(remove: Callable[..., Any], tell: Tell, probe: KubeProbe) -> None:
    former = VolumeUsage("data", "db", id="7f", former=FORMER)
    tell([DATA, VolumeUsage("data", "db", id="6f"), former, VolumeUsage("old", "web", id="8f", former=FORMER)])
    answer = remove("data")
    assert (answer.code, "has several volumes data: of db, web" in answer.err) == (2, True)
    answer = remove("old")
    assert (answer.code, f"there is one of {FORMER}" in answer.err) == (4, True)
    assert ordered(probe) == ()
    assert remove("data", "--deployment", "db").code == 8
    assert remove("data", "--former", FORMER).code == 8
    assert [(one.deployment, one.id, one.former) for one in ordered(probe)] == [("db", "6f", ""), ("db", "7f", FORMER)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("cache",), "pi-1 reports no volume cache"),
        (("data", "--deployment", "db"), "pi-1 reports no volume data of db"),
        (("data", "--former", FORMER), f"pi-1 reports no volume data of the former identity {FORMER}"),
    ],
    ids=["name", "deployment", "identity"],
)
def test_an_unknown_volume_is_named(
    remove: Callable[..., Any], tell: Tell, probe: KubeProbe, words: tuple[str, ...], told: str
) -> None:
    tell([DATA])
    answer = remove(*words)
    assert answer.code == 4
    assert told in answer.err
    assert "fleet device show pi-1" in answer.err
    assert ordered(probe) == ()


@pytest.mark.parametrize(
    "words",
    [
        ("../etc",),
        ("da\x1b[31mta",),
        ("data\n",),
        ("v" * 64,),
        ("",),
        ("data", "--deployment", "Web"),
        ("data", "--former", "pi-0"),
    ],
    ids=["path", "escape", "newline", "long", "empty", "deployment", "identity"],
)
def test_what_no_volume_can_be_called_is_refused_before_anything_is_asked(fleet: Fleet, words: tuple[str, ...]) -> None:
    answer = fleet("device", "remove-volume", "pi-1", *words)
    assert (answer.code, "\x1b" in answer.err) == (2, False)
    assert "can be no volume of a device" in answer.err


def test_an_agent_that_is_too_old_is_named(remove: Callable[..., Any], tell: Tell, probe: KubeProbe) -> None:
    tell([VolumeUsage("data", "web", 2**20)])
    answer = remove("data")
    assert answer.code == 5
    assert "the agent of pi-1 (v0.1.0) is too old to remove a volume by order" in answer.err
    assert "fleet device upgrade pi-1" in answer.err
    assert ordered(probe) == ()


def test_a_device_has_so_many_orders_at_once_and_no_more(
    remove: Callable[..., Any], tell: Tell, probe: KubeProbe, kube: Kube, namespace: str
) -> None:
    orders = [
        {"deployment": "web", "name": f"v{number}", "id": "1f", "order": f"{number}a"}
        for number in range(MAX_VOLUME_ORDERS)
    ]
    tell([DATA])
    patch = msgspec.json.encode({"spec": {"removeVolumes": orders}}).decode()
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", patch)
    answer = remove("data")
    assert (answer.code, f"pi-1 has {MAX_VOLUME_ORDERS} orders" in answer.err) == (5, True)
    assert len(ordered(probe)) == MAX_VOLUME_ORDERS


def test_a_device_that_is_not_there_or_says_nothing(
    fleet: Fleet, device: Callable[[str], None], kube: Kube, namespace: str
) -> None:
    device("pi-1")
    assert fleet("device", "remove-volume", "pi-2", "data").code == 4
    answer = fleet("device", "remove-volume", "pi-1", "data")
    assert (answer.code, "pi-1 has not reported its volumes yet" in answer.err) == (4, True)
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", '{"spec": {"revoked": true}}')
    answer = fleet("device", "remove-volume", "pi-1", "data")
    assert (answer.code, "pi-1 is revoked" in answer.err) == (5, True)
