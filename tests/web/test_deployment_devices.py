"""A deployment's screen is brought up to date by what changed, and is the one that is made of all devices."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import pytest

from fleet.contract.objects import Device, WorkloadStatus
from fleet.contract.states import gathered
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.web import shown_deployments
from fleet.web.messages import EventMessage, RevisionsMessage
from fleet.web.pages import Pages
from fleet.web.shown_deployments import ShownDeployments
from fleet.web.store import Store
from fleet.web.views.deployment_devices import DeploymentDevices
from fleet.web.views.row import Summary
from tests.support.web import OFFLINE, ONLINE, Json, condition, deployment, device, workload

encoded = msgspec.json.encode
_READY = condition("Ready", "True", "AllReady")
_SITES = ("lab", "roof", "")
_PHASES = ((Phase.RUNNING, Reason.HEALTHY), (Phase.FAILED, Reason.EXITED), (Phase.PENDING, Reason.PULLING))


def _everywhere(name: str, generation: int = 1) -> Json:
    """A deployment for every device."""
    found = deployment(name, _READY)
    found["spec"]["selector"], found["metadata"]["generation"] = {}, generation
    return found


def _put(store: Store, kind: str, item: Json, *, deleted: bool = False) -> None:
    store.apply_change(kind, encoded(item), deleted=deleted)


def _store(*deployments: Json, devices: int = 30) -> Store:
    store = Store()
    store.replace_objects("Device", [encoded(device(f"dev-{one:02}", site=_SITES[one % 3])) for one in range(devices)])
    store.replace_objects("FleetDeployment", [encoded(one) for one in deployments])
    return store


def _anything(store: Store, chance: random.Random) -> None:
    """Something that can happen to a fleet."""
    name = f"dev-{chance.randrange(34):02}"
    phase, reason = chance.choice(_PHASES)
    said = {one: DeviceState(chance.randint(1, 2), phase, reason, chance.choice(("", "x"))) for one in ("web", "job")}
    known = [workload("web", "Running", "Healthy", generation=chance.randint(1, 2))] if chance.random() < 0.5 else []
    online = chance.choice((ONLINE, OFFLINE))
    item = device(name, online, site=chance.choice(_SITES), workloads=known)
    item["spec"]["revoked"] = chance.random() < 0.1
    happenings: tuple[Callable[[], None], ...] = (
        lambda: store.update_states(name, gathered(said)),
        lambda: store.update_states(name, gathered({})),
        lambda: _put(store, "Device", item),
        lambda: _put(store, "Device", item, deleted=True),
        lambda: store.apply_change("Device", encoded({"metadata": {"name": name}, "spec": 1}), deleted=False),
        lambda: _put(store, "FleetDeployment", _everywhere("web", chance.randint(1, 2))),
        store.discard_reports,
    )
    chance.choices(happenings, (9, 2, 9, 2, 2, 1, 1))[0]()


@pytest.mark.parametrize("seed", range(12))
def test_what_is_kept_is_what_all_devices_make(seed: int) -> None:
    chance = random.Random(seed)
    store = _store(_everywhere("web"), deployment("job", _READY))
    shown = ShownDeployments(store)
    for _ in range(120):
        _anything(store, chance)
        if chance.random() < 0.5:
            continue
        for name, item in store.deployments.items():
            anew, kept = DeploymentDevices(item), shown.devices(name)
            anew.fill((store.devices[one], store.summaries[one], store.workloads(one)) for one in sorted(store.devices))
            assert tuple(kept.states()) == tuple(anew.states())
            assert tuple(kept.generations()) == tuple(anew.generations())
            assert kept.offline == anew.offline
            assert {one: dict(value) for one, value in _counters(kept).items()} == _counters(anew), (
                "nothing is left over"
            )


def _counters(one: DeploymentDevices) -> dict[str, dict[object, object]]:
    held = vars(one)
    return {name: held[name] for name in ("_uses", "_same", "_entries", "_states")}


def test_what_other_devices_do_makes_no_screen_of_a_deployment_anew() -> None:
    """Of twenty deployments that are looked at, one is made anew when a device of it says something."""
    store = _store(deployment("web", _READY), _everywhere("job"))
    pages = Pages(store, "here")
    said = gathered({"job": DeviceState(1, Phase.FAILED, Reason.EXITED, "code 1")})
    mine = gathered({"web": DeviceState(1, Phase.FAILED, Reason.EXITED, "code 1")})
    others: list[Callable[[], object]] = [
        lambda: store.update_states("dev-01", said),
        lambda: _put(store, "Device", device("dev-01", OFFLINE, site="roof", version=2)),
        lambda: _put(store, "Device", device("dev-02"), deleted=True),
        lambda: _put(store, "FleetDeployment", _everywhere("job", 2)),
        lambda: store.add_event(EventMessage("FleetDeployment", "job", "Normal", "Reason", "of another", 1.0, 1)),
        lambda: store.update_states("dev-00", gathered({})),
    ]
    own: list[Callable[[], object]] = [
        lambda: store.update_states("dev-01", mine),
        lambda: _put(store, "Device", device("dev-00", OFFLINE, site="lab", version=2)),
        lambda: _put(store, "Device", device("dev-03"), deleted=True),
        lambda: store.add_event(EventMessage("FleetDeployment", "web", "Normal", "Reason", "its own", 1.0, 1)),
        lambda: store.set_revisions(RevisionsMessage("web", ())),
        lambda: _put(store, "FleetDeployment", deployment("web", condition("Ready", "False", "InProgress"))),
        lambda: _put(store, "FleetDeployment", _everywhere("job", 2), deleted=True),
        lambda: store.apply_change("FleetDeployment", b'{"metadata":{"name":"web"},"spec":1}', deleted=False),
        lambda: _put(store, "FleetDeployment", deployment("web", condition("Ready", "False", "InProgress"))),
    ]

    def anew(change: Callable[[], object]) -> bool:
        before = pages.screen("deployment", "web")
        change()
        return pages.screen("deployment", "web") is not before

    assert [anew(change) for change in others] == [False] * len(others)
    assert [anew(change) for change in own] == [True] * len(own)


def test_deployments_that_are_looked_at_by_turns_are_kept_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of more than 32 each was made of all devices each time: with 10,000 of them 0.05 s, for every page."""
    names = [f"d-{number:02}" for number in range(40)]
    store = _store(*map(_everywhere, names))
    shown, filled = ShownDeployments(store), list[str]()
    fill = DeploymentDevices.fill

    def counted(devices: DeploymentDevices, known: Iterable[tuple[Device, Summary | None, Any]]) -> None:
        filled.append(devices.item.metadata.name)
        fill(devices, known)

    monkeypatch.setattr(DeploymentDevices, "fill", counted)
    for _ in range(2):
        for name in names:
            shown.devices(name)
    assert filled == names
    monkeypatch.setattr(shown_deployments, "_OVERHEAD", 10)
    monkeypatch.setattr(shown_deployments, "_KEPT", 3 * (30 + 10))
    _put(store, "FleetDeployment", _everywhere("d-00", 2))
    for name in ("d-00", "d-39", "d-38", "d-37", "d-39", "d-00"):
        shown.devices(name)
    assert filled[40:] == ["d-00", "d-37", "d-00"], "those that were looked at last stay"


def test_a_change_of_one_device_looks_at_that_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a screen follows what changed: that of 10,000 devices was 0.1 s for each change of one."""
    store = _store(_everywhere("web"))
    shown = ShownDeployments(store)
    shown.devices("web")
    looked: list[str] = []
    put = DeploymentDevices.put

    def counted(
        devices: DeploymentDevices,
        name: str,
        item: Device | None,
        known: Summary | None,
        said: Sequence[WorkloadStatus],
    ) -> bool:
        looked.append(name)
        return put(devices, name, item, known, said)

    def filled(_: DeploymentDevices, __: object) -> None:
        looked.append("every device")

    monkeypatch.setattr(DeploymentDevices, "put", counted)
    monkeypatch.setattr(DeploymentDevices, "fill", filled)
    store.update_states("dev-07", gathered({"web": DeviceState(1, Phase.FAILED, Reason.EXITED, "code 1")}))
    version = shown.version("web")
    (failed, waiting) = shown.devices("web").states()
    assert (shown.version("web"), looked) == (version, ["dev-07"])
    assert ([one.device for one in failed.devices], waiting.count) == (["dev-07"], 29)


@pytest.mark.parametrize("online", [ONLINE, OFFLINE], ids=["online", "offline"])
@pytest.mark.parametrize(("phase", "reason"), [("Pending", "SecretMissing"), ("Failed", "SecretUnusable")])
def test_a_device_for_which_nothing_could_be_ordered_says_why(phase: str, reason: str, online: Json) -> None:
    """Its Secret is missing: it runs no generation, and generation 0 is none."""
    told = workload("web", phase, reason, "there is no Secret db", generation=0)
    store = Store()
    store.replace_objects("Device", [encoded(device("pi-1", online, workloads=[told]))])
    store.replace_objects("FleetDeployment", [encoded(_everywhere("web"))])
    found = ShownDeployments(store).devices("web")
    ((state, (one,)),) = [(group.state, group.devices) for group in found.states()]
    away = phase == "Pending" and online is OFFLINE
    assert (state, one.reason, one.message) == (
        phase,
        "HeartbeatMissed" if away else reason,
        "there is no Secret db",
    )
    assert [(it.generation, it.devices) for it in found.generations()] == [(1, 0)]
    screens = Pages(store, "here")
    shown = screens.screen("device", "pi-1")
    assert "generation 0" not in str(shown)
    assert '<td data-label="generation">\N{EN DASH}</td>' in str(shown)
