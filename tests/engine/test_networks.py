"""The network of a pod: addresses by hand, names, and a life that ends with its last container."""

from __future__ import annotations

import msgspec
import pytest

from fleet.agent.answers import EngineRefused
from fleet.agent.creation import Where
from fleet.agent.engine import Engine
from fleet.agent.networks import Network as Seen
from fleet.agent.networks import NoRoom, addresses, clear_networks, ensure_network, remove_network
from fleet.contract.confinement import Network
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.owner import Owner
from fleet.contract.pod import Member
from harness.images import IMAGE
from tests.engine.lab import LABEL, STAYS, Lab

PEERS = ("app", "web")
LABELS = {LABEL: "network"}
SERVES = ("httpd", "-f", "-p", "80", "-h", "/www")
ASKS = ("sh", "-c", "until wget -qO- http://web/; do sleep 0.2; done; exec sleep 1000000")


def member(name: str, *command: str, peers: tuple[str, ...] = PEERS, network: Network = Network.BRIDGE) -> Member:
    return Member(image=IMAGE, command=command, name=name, peers=peers, network=network)


async def made(lab: Lab, engine: Engine, wanted: Member, suffix: str = "") -> str:
    name = lab.name("net")
    network = await ensure_network(engine, name, LABELS)
    where = Where(network=name, addresses=addresses(network, PEERS))
    return await engine.create(lab.name(wanted.name + suffix), wanted, {LABEL: lab.mark}, where)


async def cleared(lab: Lab, engine: Engine) -> None:
    for one in await engine.containers(lab.label):
        await engine.remove(one.id)
    await remove_network(engine, lab.name("net"))


def test_containers_reach_each_other_by_name_whichever_started_first(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        app = await made(lab, engine, member("app", *ASKS))
        web = await made(lab, engine, member("web", *SERVES))
        await engine.start(app)
        await engine.start(web)
        await lab.until(engine, app, "the other one answered", lambda _: "fleet" in lab.log(app), within=25)
        await cleared(lab, engine)

    lab.run(body)


def test_a_replacement_takes_the_address_of_the_one_before(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        web = await made(lab, engine, member("web", *STAYS))
        following = await made(lab, engine, member("web", *SERVES), ".next")
        app = await made(lab, engine, member("app", *ASKS))
        await engine.start(web)
        await engine.start(app)
        await engine.stop(web)
        await engine.start(following)
        await lab.until(engine, app, "the replacement answered", lambda _: "fleet" in lab.log(app), within=25)
        await engine.stop(following)
        await engine.start(web)
        assert (await lab.look(engine, web)).state.status == "running"
        await cleared(lab, engine)

    lab.run(body)


def test_a_network_that_is_there_stays_with_its_labels_and_its_range(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        name = lab.name("net")
        first = await ensure_network(engine, name, LABELS)
        again = await ensure_network(engine, name, {LABEL: "another"})
        assert (again.labels, again.subnet) == (LABELS, first.subnet)
        await remove_network(engine, name)
        await remove_network(engine, name)

    lab.run(body)


def test_a_draft_of_an_agent_that_was_ended_is_in_nobodys_way(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        name = lab.name("net")
        lab.raw.call("POST", "/networks/create", json={"Name": f"{name}.draft"})
        network = await ensure_network(engine, name, LABELS)
        assert network.labels == LABELS
        await remove_network(engine, name)

    lab.run(body)


def test_a_network_in_which_a_container_runs_stays(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        web = await made(lab, engine, member("web", *STAYS))
        await engine.start(web)
        await remove_network(engine, lab.name("net"))
        assert (await ensure_network(engine, lab.name("net"), {})).labels == LABELS
        await cleared(lab, engine)

    lab.run(body)


def test_a_network_of_which_the_engine_chose_the_range_gives_no_address_by_hand(lab: Lab) -> None:
    """Docker's way, and why the range is asked for; podman gives it."""

    async def body(engine: Engine) -> None:
        name = lab.name("net")
        lab.raw.call("POST", "/networks/create", json={"Name": name})
        try:
            refused = ""
            try:
                await engine.start(await made(lab, engine, member("web", *STAYS)))
            except EngineRefused as error:
                refused = error.what
            is_docker = lab.raw.call("GET", "/info").json()["LoggingDriver"] == "json-file"
            assert ("user configured subnets" in refused) == is_docker
        finally:
            await cleared(lab, engine)

    lab.run(body)


@pytest.mark.parametrize("network", [Network.NONE, Network.HOST], ids=lambda one: one.value)
def test_a_container_that_is_not_in_the_network_is_made_without(lab: Lab, network: Network) -> None:
    async def body(engine: Engine) -> None:
        one = await made(lab, engine, member("lone", *STAYS, peers=(), network=network))
        await engine.start(one)
        assert (await lab.look(engine, one)).state.status == "running"
        await cleared(lab, engine)

    lab.run(body)


def test_the_number_of_addresses_counts() -> None:
    small = msgspec.json.decode(b'{"IPAM":{"Config":[{"Subnet":"10.1.2.0/29"}]}}', type=Seen)
    assert addresses(small, ("a", "b")) == {"a": "10.1.2.2", "b": "10.1.2.3"}
    with pytest.raises(NoRoom, match="too few"):
        addresses(small, tuple("abcdef"))


def test_an_address_is_one_containers_alone_while_that_runs(lab: Lab) -> None:
    """So what has it ends before another starts with it."""

    async def body(engine: Engine) -> None:
        web = await made(lab, engine, member("web", *STAYS))
        other = await made(lab, engine, member("web", *STAYS), ".next")
        await engine.start(web)
        with pytest.raises(EngineRefused, match=r"Address already in use|requested IP address \S+ is not available"):
            await engine.start(other)
        await engine.stop(web)
        await engine.start(other)
        assert (await lab.look(engine, other)).state.status == "running"
        await cleared(lab, engine)

    lab.run(body)


def test_what_an_agent_left_is_removed_and_nobody_elses_network(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        owner = Owner(f"pi-{lab.mark}", "server")
        ours = {DEVICE_LABEL: owner.device, SERVER_LABEL: owner.server}
        wanted = {
            "left": {**ours, DEPLOYMENT_LABEL: "left"},
            "used": {**ours, DEPLOYMENT_LABEL: "used"},
            "elsewhere": {**ours, SERVER_LABEL: "another", DEPLOYMENT_LABEL: "left"},
            "foreign": {},
        }
        names = {name: lab.name(name) for name in wanted}
        try:
            for name, labels in wanted.items():
                await ensure_network(engine, names[name], labels)
            await clear_networks(engine, owner, {"used"})
            there = {one["Name"] for one in lab.raw.call("GET", "/networks").json()}
            assert {name for name, found in names.items() if found in there} == {"used", "elsewhere", "foreign"}
        finally:
            for name in names.values():
                await remove_network(engine, name)

    lab.run(body)


def test_a_container_starts_in_no_network_but_the_one_that_it_was_made_for(lab: Lab) -> None:
    """docker takes a network of which no container runs, and finds it again by its id; podman keeps it."""

    async def body(engine: Engine) -> None:
        name, other = lab.name("net"), lab.name("other")
        started, fresh = await made(lab, engine, member("web", *STAYS)), await made(lab, engine, member("app", *STAYS))
        await engine.start(started)
        await engine.stop(started)
        before = await ensure_network(engine, name, LABELS)
        try:
            await remove_network(engine, name)
            if lab.is_podman:
                assert (await ensure_network(engine, name, LABELS)).id == before.id
                return
            for one in (started, fresh):
                with pytest.raises(EngineRefused, match=r"network .* not found"):
                    await engine.start(one)
            lab.raw.call(
                "POST", "/networks/create", json={"Name": other, "IPAM": {"Config": [{"Subnet": before.subnet}]}}
            )
            after = await ensure_network(engine, name, LABELS)
            assert (after.id != before.id, after.subnet != before.subnet) == (True, True)
            with pytest.raises(EngineRefused, match=f"network {before.id} not found"):
                await engine.start(started)
            with pytest.raises(EngineRefused, match="does not belong to any of this network's subnets"):
                await engine.start(fresh)
        finally:
            await cleared(lab, engine)
            await remove_network(engine, other)

    lab.run(body)
