"""What a device trusts: a bundle counts once it is proven and on the disk, and never locks the device out."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import msgspec
import pytest

from fleet.agent import trust
from fleet.agent.paths import AgentPaths
from fleet.agent.setup import load
from fleet.contract.buckets import TRUST_BUNDLE, TRUST_KEY
from fleet.contract.certificates import TrustBundle, certificate_ids
from fleet.contract.config import AgentConfig, render_config
from fleet.contract.wire import DeviceInfo
from fleet.install.tls import new_authority, new_key
from tests.agent.stage import Stage

_REFUSED = "the server's trust bundle is not taken; what was trusted still is"
OTHER = new_authority(new_key(), "another").decode()


def put(stage: Stage, change: Callable[[AgentConfig], AgentConfig] = lambda config: config) -> None:
    path = AgentPaths(stage.root).config
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(render_config(change(stage.config)))
    path.chmod(0o600)


async def publish(stage: Stage, bundle: str) -> None:
    await stage.bus.kv(TRUST_BUNDLE).put(TRUST_KEY, TrustBundle(bundle))


async def trusts(stage: Stage, bundle: str) -> None:
    wanted = certificate_ids(bundle)

    def told(info: DeviceInfo | None) -> bool:
        return info is not None and info.trusts == wanted

    await stage.eventually(stage.info, told, f"it trusts {wanted}")


def test_a_bundle_is_taken_and_given_up_again(stage: Stage) -> None:
    ca = stage.nats.tls.ca
    put(stage)

    async def body() -> None:
        async with stage.agent():
            await trusts(stage, ca)
            await publish(stage, ca + OTHER)
            await trusts(stage, ca + OTHER)
            assert load(AgentPaths(stage.root)).auth.ca == ca + OTHER, "it was reported before it was written"
            await publish(stage, ca)
            await trusts(stage, ca)

    stage.play(body)
    after = load(AgentPaths(stage.root))
    assert after == stage.config, "something else than the certificates has changed"
    assert AgentPaths(stage.root).config.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("bundle", [OTHER, "no certificate"], ids=["of another server", "no bundle"])
def test_a_bundle_that_would_lock_the_device_out_is_not_taken(stage: Stage, bundle: str) -> None:
    ca = stage.nats.tls.ca
    put(stage)

    async def body() -> None:
        await publish(stage, bundle)
        async with stage.agent():
            await stage.logged(_REFUSED)
            await trusts(stage, ca)
            # What comes after it is taken.
            await publish(stage, ca + OTHER)
            await trusts(stage, ca + OTHER)

    stage.play(body)
    assert bundle not in load(AgentPaths(stage.root)).auth.ca.removesuffix(OTHER)


def test_a_bundle_that_could_not_be_proven_is_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server did not answer in time: nobody has to write the bundle anew, and no hour has to pass."""
    ca = stage.nats.tls.ca
    stage.resync = 3600
    put(stage)
    asked: list[str] = []
    shake_hands = trust._shake_hands  # pyright: ignore[reportPrivateUsage]

    async def slow(url: str, context: ssl.SSLContext) -> None:
        asked.append(url)
        if len(asked) < 8:  # as often as a bundle is read right after it was written, and more
            raise TimeoutError
        await shake_hands(url, context)

    monkeypatch.setattr(trust, "_shake_hands", slow)

    async def body() -> None:
        async with stage.agent():
            await publish(stage, ca + OTHER)
            await stage.logged(_REFUSED)  # though the error has no words
            await trusts(stage, ca + OTHER)

    stage.play(body)


def test_a_host_that_was_given_to_another_identity_is_left_alone(stage: Stage) -> None:
    def another(config: AgentConfig) -> AgentConfig:
        return msgspec.structs.replace(config, auth=msgspec.structs.replace(config.auth, project="of another server"))

    put(stage, another)

    async def body() -> None:
        await publish(stage, stage.nats.tls.ca + OTHER)
        async with stage.agent():
            await stage.logged(_REFUSED)

    stage.play(body)
    assert load(AgentPaths(stage.root)) == another(stage.config)
