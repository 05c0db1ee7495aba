"""What is on a device belongs to the identity, and the server, that ordered it."""

from __future__ import annotations

import msgspec
import pytest

from fleet.agent.paths import AgentPaths
from fleet.contract.containers import DEVICE_LABEL, SERVER_LABEL, container_name
from fleet.contract.errors import Unreachable
from fleet.contract.names import DeviceId
from fleet.contract.owner import Owner, parse_owners
from fleet.contract.wire import Phase, Reason
from tests.agent.stage import STAYS, Stage
from tests.support.callout import active, identities


def ids(stage: Stage, device: str) -> set[str]:
    """The containers that are labelled with a device."""
    query = {"all": "1", "filters": msgspec.json.encode({"label": [f"{DEVICE_LABEL}={device}"]}).decode()}
    return {one["Id"] for one in stage.raw.call("GET", "/containers/json", params=query).json()}


def test_another_identity_neither_starts_nor_touches_what_the_first_one_ordered(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
        first, before = stage.device, ids(stage, stage.device)
        stage.device = DeviceId(f"{first}-b")
        stage.issuer_error = Unreachable("no network", next_step="wait")
        async with stage.agent():
            await stage.logged("the desired state on disk was ordered by another identity; it is not restored")
            await stage.logged("no token from the issuer")
        assert (ids(stage, first), ids(stage, stage.device)) == (before, set())
        stage.device = first

    stage.play(body)


def test_what_a_set_up_said_it_would_end_ends_and_only_that(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
        first = Owner.of(stage.config)
        bystander = stage.raw.call(
            "POST",
            "/containers/create",
            params={"name": container_name(first.device, "elsewhere")},
            json={"Image": STAYS.image, "Labels": {DEVICE_LABEL: first.device, SERVER_LABEL: "another"}},
        ).json()["Id"]
        network = {DEVICE_LABEL: first.device, SERVER_LABEL: first.server}
        stage.raw.call("POST", "/networks/create", json={"Name": f"{first.device}-net", "Labels": network})
        stage.device, stage._index = DeviceId(f"{first.device}-b"), {}  # pyright: ignore[reportPrivateUsage]
        AgentPaths(stage.root).replaced.write_bytes(msgspec.json.encode([first]))
        async with identities(stage.nats) as registry:
            await registry.put(stage.subject, active(stage.device))
        async with stage.agent():

            async def left() -> set[str]:
                return ids(stage, first.device)

            async def network_status() -> int:
                return stage.raw.call("GET", f"/networks/{first.device}-net").status_code

            await stage.eventually(left, lambda found: found == {bystander}, "its containers are gone, no other's")
            await stage.eventually(network_status, lambda status: status == 404, "its network is gone")
            await stage.deploy("own", STAYS)
            await stage.until("own", Phase.RUNNING, Reason.STARTED, within=20)
        stage.raw.call("DELETE", f"/containers/{bystander}", params={"force": "1"})

    stage.play(body)


@pytest.mark.parametrize("data", [None, b"", b"{", b"[1]", b"\xff"])
def test_a_damaged_list_of_owners_names_nobody(data: bytes | None) -> None:
    assert parse_owners(data) == []
