"""A network that an agent left is removed beside everything else: an engine that hangs at it delays nothing."""

from __future__ import annotations

import pytest

from fleet.agent import networks
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL, network_name
from fleet.contract.owner import Owner
from fleet.contract.wire import Container, Phase, Reason
from tests.agent.stage import STAYS, Stage


@pytest.mark.parametrize("gives_up", [False, True])
def test_an_engine_that_hangs_at_the_removal_of_a_network_delays_nothing_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, gives_up: bool
) -> None:
    """Each look waited for it: a minute without a report, and without any other deployment's start."""
    monkeypatch.setattr(networks, "_REMOVAL_WITHIN", 0.3 if gives_up else 1000)

    async def body() -> None:
        owner = Owner.of(stage.config)
        ours = {DEVICE_LABEL: owner.device, SERVER_LABEL: owner.server, DEPLOYMENT_LABEL: "gone"}
        name = network_name(stage.device, "gone")
        stage.raw.call("POST", "/networks/create", json={"Name": name, "Labels": ours})
        stage.plant(method="DELETE", path="/networks/")
        try:
            async with stage.agent():
                if gives_up:
                    await stage.deploy("web", STAYS)
                    await stage.until("web", Phase.RUNNING, Reason.STARTED)
                    await stage.logged("networks without a pod are not removed yet")
                else:
                    stage.plant(method="POST", path="/images/create")
                    await stage.deploy("web", Container(image="fleet-test/absent:1"))
                    await stage.until("web", Phase.PENDING, Reason.PULLING)
        finally:
            stage.heal()
            stage.raw.call("DELETE", f"/networks/{name}")

    stage.play(body)
