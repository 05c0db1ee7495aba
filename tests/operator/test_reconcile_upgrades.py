"""What the operator makes of an agent version that is wanted: the order, the condition, the event."""

from __future__ import annotations

import msgspec

from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget
from fleet.operator.reconcile.actions import PatchDeviceStatus, WriteTarget, stage
from fleet.operator.upgrade.view import Artifact
from tests.operator.model import INFO, World, fleet

NEW = AgentVersion("v0.2.0")
DIGEST = Digest("sha256:" + "2" * 64)


def wanting(version: str = NEW) -> World:
    """A device that is to be upgraded to a published version."""
    world = fleet("pi-1")
    world.published[NEW] = Artifact(DIGEST, 1000)
    world.edit_device("pi-1", agent_version=version, agent_order=1)
    return world


def reported(world: World, phase: UpgradePhase, reason: UpgradeReason) -> None:
    status = UpgradeStatus(world.targets["pi-1"].generation, phase, reason, candidate=NEW)
    world.infos["pi-1"] = msgspec.structs.replace(INFO, upgrade=status)


def told(world: World) -> list[str]:
    actions = [action for action in world.plan() if isinstance(action, PatchDeviceStatus)]
    return [f"{note.type} {note.reason}" for action in actions for note in action.notes]


def test_what_is_wanted_is_ordered_once() -> None:
    world = wanting()
    assert told(world) == ["Normal GenerationOrdered", "Normal Ordered"]
    world.settle()
    assert world.targets == {"pi-1": AgentTarget(NEW, DIGEST, 1, size=1000, order=1)}
    assert world.condition("pi-1", "Upgraded") == ("False", "Ordered")


def test_the_number_of_versions_is_carried_as_it_is_now() -> None:
    world = wanting()
    world.settle()
    world.edit_device("pi-1", agent_versions_kept=2)
    world.settle()
    assert world.targets == {"pi-1": AgentTarget(NEW, DIGEST, 1, size=1000, order=1, versions_kept=2)}


def test_an_order_comes_before_the_status_that_tells_of_it() -> None:
    actions = wanting().plan()
    order = next(action for action in actions if isinstance(action, WriteTarget))
    status = next(action for action in actions if isinstance(action, PatchDeviceStatus))
    assert stage(order) < stage(status)


def test_a_version_that_nobody_published_is_not_ordered() -> None:
    world = wanting("v0.3.0")
    assert told(world) == ["Normal GenerationOrdered", "Warning UnknownVersion"]
    world.settle()
    assert not world.targets
    assert world.condition("pi-1", "Upgraded") == ("False", "UnknownVersion")


def test_a_device_of_which_nothing_is_wanted_has_no_such_condition() -> None:
    world = fleet("pi-1")
    assert all(one.type != "Upgraded" for one in world.devices["pi-1"].status.conditions)


def test_the_end_of_an_attempt_is_told() -> None:
    world = wanting()
    world.settle()
    reported(world, UpgradePhase.REFUSED, UpgradeReason.SIGNATURE_INVALID)
    assert told(world) == ["Warning SignatureInvalid"]
    world.settle()
    assert world.condition("pi-1", "Upgraded") == ("False", "SignatureInvalid")
    world.edit_device("pi-1", agent_order=2)
    world.step()
    assert world.condition("pi-1", "Upgraded") == ("False", "Ordered"), "never the end of the order before"
    world.settle()
    reported(world, UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED)
    assert told(world) == ["Normal Confirmed"]
    world.settle()
    assert world.condition("pi-1", "Upgraded") == ("True", "Confirmed")
