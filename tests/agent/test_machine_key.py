"""Another machine key for a device: made there, proven before it counts, and given up without a trace."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from joserfc.jwk import RSAKey

from fleet.agent import machine_key
from fleet.agent.paths import AgentPaths
from fleet.agent.setup import load
from fleet.contract.buckets import KEY_ORDER
from fleet.contract.config import AgentConfig, FleetDeviceAuth, render_config
from fleet.contract.errors import NotPermitted
from fleet.contract.machine_keys import KeyOrder, offer_id
from fleet.contract.wire import DeviceInfo, Heartbeat
from fleet.identity.access_token import AccessToken
from tests.agent.stage import Stage

_KEPT = "the device keeps its machine key for now"


def put(stage: Stage, change: Callable[[AgentConfig], AgentConfig] = lambda config: config) -> None:
    path = AgentPaths(stage.root).config
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(render_config(change(stage.config)))
    path.chmod(0o600)


class Issuing:
    """What the issuer says of the keys that a device tries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        self.refuses = 0
        monkeypatch.setattr(machine_key, "ask", self.ask)

    async def ask(self, auth: FleetDeviceAuth) -> AccessToken:
        self.tried.append(auth.machine_key.key_id)
        if self.refuses:
            self.refuses -= 1
            raise NotPermitted("no such key", next_step="")
        return AccessToken("", 0, 0)


@pytest.fixture
def issuing(monkeypatch: pytest.MonkeyPatch) -> Issuing:
    return Issuing(monkeypatch)


async def order(stage: Stage, value: KeyOrder) -> None:
    await stage.bus.kv(KEY_ORDER).put(stage.device, value)


async def told(stage: Stage, good: Callable[[DeviceInfo], bool], what: str) -> DeviceInfo:
    def seen(info: DeviceInfo | None) -> bool:
        return info is not None and good(info)

    found = await stage.eventually(stage.info, seen, what, within=30)
    assert isinstance(found, DeviceInfo)
    return found


async def offered(stage: Stage) -> str:
    return (await told(stage, lambda info: bool(info.offered_key), "a public half is offered")).offered_key


async def beats(stage: Stage, key: str) -> None:
    def seen(beat: Heartbeat | None) -> bool:
        return beat is not None and beat.key_id == key

    await stage.eventually(stage.heartbeat, seen, f"a heartbeat carries the key {key}", within=30)


def test_a_device_makes_a_key_and_comes_in_by_it(stage: Stage, issuing: Issuing) -> None:
    put(stage)

    async def body() -> None:
        async with stage.agent():
            await beats(stage, "1")
            await order(stage, KeyOrder("1"))
            public = await offered(stage)
            assert not RSAKey.import_key(public).is_private
            assert load(AgentPaths(stage.root)).auth == stage.config.auth, "the key was used before it was registered"
            assert AgentPaths(stage.root).next_key.stat().st_mode & 0o777 == 0o600
            await order(stage, KeyOrder("1", registered="2", offer=offer_id(public)))
            await beats(stage, "2")
            await told(stage, lambda info: (info.key_id, info.offered_key) == ("2", ""), "it has the new key")
            await order(stage, KeyOrder("1"))  # of a command that was late
            await beats(stage, "2")

    stage.play(body)
    after = load(AgentPaths(stage.root))
    assert issuing.tried == ["2"]
    assert RSAKey.import_key(after.auth.machine_key.key).is_private
    assert not AgentPaths(stage.root).next_key.exists()
    same = msgspec.structs.replace(after.auth, machine_key=stage.config.auth.machine_key)
    assert msgspec.structs.replace(after, auth=same) == stage.config, "something else than the key has changed"


def test_a_token_of_before_the_rotation_is_replaced_once(stage: Stage, issuing: Issuing) -> None:
    put(stage)

    async def body() -> None:
        async with stage.agent():
            await told(stage, lambda info: info.tokens_after == 0, "it says that it knows of such orders")
            before = stage.asked
            for _ in range(2):  # of a command that was repeated
                await order(stage, KeyOrder("0", tokens_after=1_800_000_000))
                await told(stage, lambda info: info.tokens_after == 1_800_000_000, "it has another token")
            await order(stage, KeyOrder("0", tokens_after=1_800_000_009))
            await told(stage, lambda info: info.tokens_after == 1_800_000_009, "it has another one")
            assert stage.asked == before + 2

    stage.play(body)
    assert issuing.tried == []


def test_a_key_that_gets_no_token_is_not_taken(stage: Stage, issuing: Issuing) -> None:
    put(stage)
    issuing.refuses = 2

    async def body() -> None:
        async with stage.agent():
            await order(stage, KeyOrder("1"))
            await order(stage, KeyOrder("1", registered="2", offer=offer_id(await offered(stage))))
            await stage.logged(_KEPT)
            assert load(AgentPaths(stage.root)).auth == stage.config.auth
            await beats(stage, "2")

    stage.play(body)
    assert issuing.tried == ["2"] * 3


def test_an_offer_is_given_up_when_it_is_withdrawn(stage: Stage, issuing: Issuing) -> None:
    put(stage)

    async def body() -> None:
        async with stage.agent():
            await order(stage, KeyOrder("1"))
            first = await offered(stage)
            await order(stage, KeyOrder("1", registered="2", offer=offer_id(first), withdrawn=True))
            await told(stage, lambda info: (info.key_id, info.offered_key) == ("1", ""), "the offer is given up")
            assert not AgentPaths(stage.root).next_key.exists()
            # A key that was registered for the old offer is not mixed up with the new one.
            await order(stage, KeyOrder("1", registered="2", offer=offer_id(first)))
            assert await offered(stage) != first

    stage.play(body)
    assert issuing.tried == []
    assert load(AgentPaths(stage.root)).auth == stage.config.auth


def test_an_offer_outlives_the_agent(stage: Stage, issuing: Issuing) -> None:
    put(stage)
    found: list[str] = []

    async def body() -> None:
        async with stage.agent():
            await order(stage, KeyOrder("1"))
            found.append(await offered(stage))
        await stage.bus.kv(KEY_ORDER).delete(stage.device)
        async with stage.agent():
            await told(stage, lambda info: not info.offered_key, "without an order it is given up")
        async with stage.agent():
            await order(stage, KeyOrder("1"))
            found.append(await offered(stage))
        async with stage.agent():
            found.append(await offered(stage))

    stage.play(body)
    assert found[1] == found[2] != found[0]
    assert issuing.tried == []


def test_a_host_that_was_given_to_another_identity_is_left_alone(stage: Stage, issuing: Issuing) -> None:
    def another(config: AgentConfig) -> AgentConfig:
        return msgspec.structs.replace(config, auth=msgspec.structs.replace(config.auth, project="of another server"))

    put(stage, another)

    async def body() -> None:
        await order(stage, KeyOrder("1"))
        async with stage.agent():
            await stage.logged(_KEPT)

    stage.play(body)
    assert issuing.tried == []
    assert load(AgentPaths(stage.root)) == another(stage.config)
