"""An error that nobody foresaw, in the handling of one object, stays with that object."""

from __future__ import annotations

import pytest

from fleet.operator import reconcile as package
from fleet.operator.reconcile import Action, reconcile
from fleet.operator.reconcile.devices import reconcile_device
from tests.operator.model import fleet


def test_a_device_whose_handling_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_for_one(snapshot: object, device: object, *rest: object) -> list[Action]:
        if device is world.devices["pi-2"]:
            raise ValueError("Exceeds the limit (4300 digits)")
        return reconcile_device(snapshot, device, *rest)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    world = fleet("pi-1", "pi-2", "pi-3")
    world.edit_device("pi-1", revoked=True)
    world.edit_device("pi-3", revoked=True)
    everything = reconcile(world.snapshot())
    monkeypatch.setattr(package, "reconcile_device", fails_for_one)
    troubled: list[tuple[str, str]] = []
    rest = reconcile(world.snapshot(), lambda kind, name, _: troubled.append((kind, name)))
    assert troubled == [("Device", "pi-2")]
    assert rest == everything, "nothing was to be done for the one that fails"
    assert rest
