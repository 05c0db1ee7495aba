"""The devices that a rollout waits for are the same, however many are looked at together."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from fleet.contract.objects import WorkloadStatus
from fleet.contract.selector import Operator, Requirement, Selector
from fleet.web.objects import Deployment, parse_deployment
from fleet.web.store import Store
from fleet.web.views.blockers import Blocker, Blockers
from fleet.web.views.row import Summary
from tests.support.web import OFFLINE, condition, deployment, device, workload

READY = condition("Ready", "False", "InProgress")
SELECTORS = (
    Selector(),
    Selector({"site": "a"}),
    Selector({"site": "a", "ring": "1"}),
    Selector({}, (Requirement("ring", Operator.EXISTS),)),
    Selector({"site": "b"}, (Requirement("ring", Operator.NOT_IN, ("1",)),)),
    Selector({}, (Requirement("site", Operator.IN, ("a", "c")), Requirement("ring", Operator.DOES_NOT_EXIST))),
)


def one_by_one(
    item: Deployment, troubled: Sequence[Summary], said: dict[str, Sequence[WorkloadStatus]]
) -> list[Blocker]:
    """Each device by itself: those on which it fails, then those that are away."""
    name = item.metadata.name
    failing: list[Blocker] = []
    away: list[Blocker] = []
    for one in troubled:
        known = next((state for state in said[one.row.name] if state.name == name), None)
        done = known is not None and known.generation == item.metadata.generation and known.phase == "Running"
        if done or not item.spec.selector.selects(one.labels):
            continue
        own = [trouble for trouble in one.troubles if trouble.workload == name]
        other = [trouble for trouble in one.troubles if trouble.about == "connection"]
        if own:
            failing.append(Blocker(one.row.name, own[0].reason))
        elif other:
            away.append(Blocker(one.row.name, other[0].reason))
    return failing + away


def offline_one_by_one(item: Deployment, troubled: Sequence[Summary], said: dict[str, Sequence[WorkloadStatus]]) -> int:
    """How many devices ran it when they were last heard."""
    present = (item.metadata.name, item.metadata.generation, "Running")
    return sum(
        item.spec.selector.selects(one.labels)
        and any(trouble.about == "connection" for trouble in one.troubles)
        and any((state.name, state.generation, state.phase) == present for state in said[one.row.name])
        for one in troubled
    )


def fleet(seed: int) -> Store:
    """Devices with labels, troubles and workloads of any kind."""
    dice = random.Random(seed)
    store = Store()
    items: list[bytes] = []
    for number in range(60):
        states = [
            workload(name, *dice.choice([("Running", "Healthy"), ("Failed", "Exited")]), generation=dice.choice([1, 2]))
            for name in ("web", "sensor")
            if dice.random() < 0.6
        ]
        made = device(f"dev-{number:02}", *([OFFLINE] if dice.random() < 0.6 else []), workloads=states)
        made["metadata"]["labels"] = {
            key: dice.choice(values) for key, values in (("site", "abc"), ("ring", "12")) if dice.random() < 0.7
        }
        items.append(msgspec.json.encode(made))
    store.replace_objects("Device", items)
    return store


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("most", [0, 3, 1000])
def test_they_are_the_ones_that_each_device_by_itself_gives(seed: int, most: int) -> None:
    store = fleet(seed)
    troubled = [store.summaries[name] for name in sorted(store.troubled)]
    known = Blockers(troubled, store.workloads, SELECTORS)
    said = {one.row.name: store.workloads(one.row.name) for one in troubled}
    found = 0
    for name in ("web", "sensor", "nowhere"):
        item = parse_deployment(msgspec.json.encode(deployment(name, READY)))
        for selector in SELECTORS:
            item = msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, selector=selector))
            wanted = one_by_one(item, troubled, said)
            assert known.of(item, most) == (tuple(wanted[:most]), len(wanted) - len(wanted[:most])), str(selector)
            assert known.offline(item) == offline_one_by_one(item, troubled, said), str(selector)
            found += len(wanted)
    assert found > 50


def test_a_selector_is_asked_once_for_devices_that_it_cannot_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    items = [device(f"dev-{number:03}", OFFLINE, site=f"site-{number % 4}") for number in range(200)]
    for number, one in enumerate(items):
        one["metadata"]["labels"]["serial"] = str(number)
    store.replace_objects("Device", [msgspec.json.encode(one) for one in items])
    asked: list[object] = []
    selects = Selector.selects

    def counted(selector: Selector, labels: Mapping[str, str]) -> bool:
        asked.append(labels)
        return selects(selector, labels)

    monkeypatch.setattr(Selector, "selects", counted)
    troubled = [store.summaries[name] for name in sorted(store.troubled)]
    item = parse_deployment(msgspec.json.encode(deployment("web", READY)))
    item = msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, selector=Selector({"site": "site-1"})))
    named, more = Blockers(troubled, store.workloads, [item.spec.selector]).of(item, 6)
    assert ([one.device for one in named][:2], more) == (["dev-001", "dev-005"], 44)
    assert len(asked) == 4


def test_labels_that_change_are_looked_at_again() -> None:
    store = Store()
    item = parse_deployment(msgspec.json.encode(deployment("web", READY)))
    for site, number in (("lab", 1), ("elsewhere", 0)):
        store.replace_objects("Device", [msgspec.json.encode(device("pi-1", OFFLINE, site=site))])
        troubled = list(store.summaries.values())
        named, _ = Blockers(troubled, store.workloads, [item.spec.selector]).of(item, 6)
        assert len(named) == number
