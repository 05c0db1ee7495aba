"""The operator's decision: one upgrade step by step, and each proof that it demands."""

from __future__ import annotations

import msgspec

from fleet.contract.config import UpgradeRules
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentLease, AgentTarget, Heartbeat
from fleet.operator.upgrade.decide import decide
from fleet.operator.upgrade.view import Artifact, DeviceView, FleetView
from tests.upgrade.releases import release

OLD, NEW = release(1), release(2)
PUBLISHED = {NEW.version: Artifact(NEW.digest, 1000), OLD.version: Artifact(OLD.digest, 900)}
WANTS = DeviceView(wanted=NEW.version, order=1, running=OLD.version)
ORDERED = AgentTarget(NEW.version, NEW.digest, 1, size=1000, order=1)
BEAT = Heartbeat(NEW.version, "new-1", "boot-1", 1, 10, generation=1)
OLDS_LEASE, NEWS_LEASE = (AgentLease(f"{who}-1", 1, 0, boot_id="boot-1") for who in ("old", "new"))


def status(
    phase: UpgradePhase, reason: UpgradeReason = UpgradeReason.IN_PROGRESS, generation: int = 1
) -> UpgradeStatus:
    return UpgradeStatus(generation, phase, reason, candidate=NEW.version)


def fleet(*views: DeviceView, **rules: float) -> FleetView:
    return FleetView({f"pi-{n}": view for n, view in enumerate(views)}, PUBLISHED, UpgradeRules(**rules))  # pyright: ignore


def one(view: DeviceView, **changes: object) -> tuple[AgentTarget | None, str]:
    """The new order, and the condition's reason."""
    decision = decide(fleet(msgspec.structs.replace(view, **changes)))["pi-0"]
    return decision.target, decision.condition.reason if decision.condition else ""


def leading(**changes: object) -> DeviceView:
    target = msgspec.structs.replace(ORDERED, granted=True)
    view = msgspec.structs.replace(WANTS, target=target, status=status(UpgradePhase.STARTING), lease=OLDS_LEASE)
    return msgspec.structs.replace(view, **changes)


def test_from_the_order_to_the_confirmation() -> None:
    assert one(WANTS) == (ORDERED, "Ordered")
    tested = msgspec.structs.replace(WANTS, target=ORDERED, status=status(UpgradePhase.SELF_TESTED))
    granted, _ = one(tested)
    assert granted == msgspec.structs.replace(ORDERED, granted=True)
    stop, _ = one(leading(beats=(BEAT,)))
    assert stop == msgspec.structs.replace(ORDERED, granted=True, stop_instance="old-1")
    soaking = leading(target=stop, beats=(BEAT,), lease=NEWS_LEASE)
    assert one(soaking, lease_held_for=1.9)[0] is None
    assert one(soaking, lease_held_for=10, healthy=False)[0] is None
    confirmed, _ = one(soaking, lease_held_for=10)
    assert confirmed is not None
    assert (confirmed.confirmed, confirmed.stop_instance) == ("new-1", "old-1")
    done = one(soaking, target=confirmed, status=status(UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED))
    assert done == (None, "Confirmed")


def test_no_stop_without_each_part_of_the_proof() -> None:
    for change in (
        {"agent_version": AgentVersion("v0.1.1")},
        {"boot_id": "boot-0"},
        {"generation": 0},
        {"instance_id": "old-1"},
    ):
        assert one(leading(beats=(msgspec.structs.replace(BEAT, **change),)))[0] is None, change
    assert one(leading())[0] is None
    assert one(leading(lease=None), beats=(BEAT,))[0] is None


def test_a_candidate_with_another_version_is_told() -> None:
    wrong = msgspec.structs.replace(BEAT, agent_version=AgentVersion("v0.1.7"))
    assert one(leading(beats=(wrong,))) == (None, "CandidateWrongVersion")


def test_only_the_writer_is_confirmed() -> None:
    assert one(leading(beats=(BEAT,), lease_held_for=99))[0] == msgspec.structs.replace(
        ORDERED, granted=True, stop_instance="old-1"
    )


def test_another_order_is_another_attempt() -> None:
    back, _ = one(leading(), wanted=OLD.version, order=2)
    assert back == AgentTarget(OLD.version, OLD.digest, 2, size=900, order=2)
    again, _ = one(leading(status=status(UpgradePhase.REVERTED, UpgradeReason.CANDIDATE_CRASHED)), order=2)
    assert again is not None
    assert (again.version, again.generation) == (NEW.version, 2)


def test_an_attempt_that_ended_stays_ended() -> None:
    reverted = leading(status=status(UpgradePhase.REVERTED, UpgradeReason.CANDIDATE_CRASHED))
    assert one(reverted) == (None, "CandidateCrashed")


def test_generations_go_on_where_the_device_is() -> None:
    """NATS may have been restored from a backup, and a device takes a lower number for a late order."""
    restored = msgspec.structs.replace(WANTS, status=status(UpgradePhase.COMMITTED, generation=57))
    target, _ = one(restored)
    assert target is not None
    assert target.generation == 58


def test_an_order_that_is_taken_back_withdraws_what_is_under_way() -> None:
    withdrawn, reason = one(leading(), wanted=None)
    assert withdrawn == msgspec.structs.replace(ORDERED, granted=True, withdrawn=True)
    assert reason == "NotWanted"
    assert one(leading(status=status(UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED)), wanted=None)[0] is None


def test_the_number_of_versions_reaches_a_device_without_another_attempt() -> None:
    committed = leading(status=status(UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED))
    assert committed.target is not None
    kept = msgspec.structs.replace(committed.target, versions_kept=3)
    assert one(committed, versions_kept=3) == (kept, "Confirmed")
    assert one(committed, versions_kept=3, target=kept)[0] is None, "said once"
    assert one(committed, target=kept)[0] == committed.target, "and taken back"
    assert one(committed, versions_kept=3, wanted=AgentVersion("v9.9.9"))[0] == kept
    assert one(committed, versions_kept=3, barred=True)[0] is None
    assert one(WANTS, versions_kept=3)[0] == msgspec.structs.replace(ORDERED, versions_kept=3)


def test_an_unknown_version_is_told_and_changes_nothing() -> None:
    assert one(WANTS, wanted=AgentVersion("v9.9.9")) == (None, "UnknownVersion")
    assert one(leading(), wanted=AgentVersion("v9.9.9")) == (None, "UnknownVersion")


def test_a_barred_device_is_left_and_frees_its_lock() -> None:
    tested = msgspec.structs.replace(WANTS, target=ORDERED, status=status(UpgradePhase.SELF_TESTED))
    found = decide(fleet(leading(barred=True), tested))
    assert found["pi-0"].target is None
    assert found["pi-1"].target == msgspec.structs.replace(ORDERED, granted=True)


def waiting(count: int) -> list[DeviceView]:
    return [msgspec.structs.replace(WANTS, target=ORDERED, status=status(UpgradePhase.SELF_TESTED))] * count


def granted_in(view: FleetView) -> list[str]:
    found = decide(view)
    return [name for name, decision in found.items() if decision.target and decision.target.granted]


def test_the_lock_is_given_to_so_many_at_once() -> None:
    assert granted_in(fleet(*waiting(5), at_once=2)) == ["pi-0", "pi-1"]
    assert granted_in(fleet(leading(), *waiting(5), at_once=2)) == ["pi-1"]
    over = leading(status=status(UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED))
    assert granted_in(fleet(over, *waiting(5), at_once=2)) == ["pi-1", "pi-2"]


def test_a_lock_that_is_not_made_use_of_expires() -> None:
    away = leading(status=status(UpgradePhase.SELF_TESTED), online=False)
    assert one(away) == (ORDERED, "SelfTested")
    assert one(leading(online=False))[0] is None, "past the swap it is held to the end"


def test_after_too_many_failures_no_further_device_begins() -> None:
    reverted = leading(status=status(UpgradePhase.REVERTED, UpgradeReason.CANDIDATE_CRASHED))
    changed_mind = leading(status=status(UpgradePhase.REVERTED, UpgradeReason.SUPERSEDED))
    assert granted_in(fleet(reverted, reverted, changed_mind, *waiting(1), abort_after=3)) == ["pi-3"]
    halted = decide(fleet(reverted, reverted, reverted, leading(beats=(BEAT,)), *waiting(1), abort_after=3, at_once=5))
    assert halted["pi-4"].target is None
    assert halted["pi-4"].condition is not None
    assert halted["pi-4"].condition.reason == "RolloutHalted"
    in_flight = halted["pi-3"].target
    assert in_flight is not None
    assert in_flight.stop_instance == "old-1", "those under way finish"
