"""Which release keys a device trusts: a list counts once it is proven and on the disk, and only ever moves on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from msgspec.structs import replace

from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.trusted import render, sign_keys
from fleet.contract.buckets import RELEASE_KEYS, TRUST_KEY
from fleet.contract.errors import Conflict, NotPermitted
from fleet.contract.release_keys import HeldKeys, OfferedKeys, SignedKeys
from fleet.contract.upgrade import TrustedKeys
from fleet.contract.versions import digest_of
from fleet.contract.wire import DeviceInfo
from fleet.nats.bus import Bus, connect
from fleet.rotation.decide import Goal
from fleet.rotation.drive import Driven
from fleet.rotation.ground import Installed
from fleet.rotation.release.decide import Step, decide
from fleet.rotation.release.drive import drive
from fleet.rotation.release.ground import Ground, KeyFiles
from tests.agent.stage import Body, Stage

T = TypeVar("T")
_REFUSED = "a list of release keys is not taken; the one before still counts"
OLD, NEW, FOREIGN = ReleaseKey.new(), ReleaseKey.new(), ReleaseKey.new()
FIRST = TrustedKeys((OLD.public,))
BOTH = TrustedKeys((OLD.public, NEW.public), number=1)
RETIRED = TrustedKeys((replace(OLD.public, revoked=True), NEW.public), number=2)
ADD, RETIRE = sign_keys(BOTH, OLD), sign_keys(RETIRED, NEW)


def put(stage: Stage, data: bytes) -> None:
    path = VersionStore(stage.root).trusted_keys
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def play(stage: Stage, body: Body) -> None:
    """Run `body` with a server that keeps no list: the tests share its NATS."""

    async def go() -> None:
        await offer(stage)
        await body()

    stage.play(go)


async def offer(stage: Stage, *lists: SignedKeys) -> None:
    await stage.bus.kv(RELEASE_KEYS).put(TRUST_KEY, OfferedKeys(lists))


async def holds(stage: Stage, trusted: TrustedKeys, refused: str = "") -> None:
    wanted = HeldKeys(trusted.number, digest_of(render(trusted)))

    def told(info: DeviceInfo | None) -> bool:
        held = info.release_keys if info else None
        return held is not None and replace(held, refused="") == wanted and refused in held.refused

    await stage.eventually(stage.info, told, f"it has {wanted}")


def test_it_follows_the_lists_as_they_come(stage: Stage) -> None:
    put(stage, render(FIRST))

    async def body() -> None:
        async with stage.agent():
            await holds(stage, FIRST)
            await offer(stage, ADD)
            await holds(stage, BOTH)
            assert VersionStore(stage.root).trusted() == BOTH, "it was reported before it was written"
            await offer(stage, ADD, RETIRE)
            await holds(stage, RETIRED)
            assert VersionStore(stage.root).trusted() == RETIRED

    play(stage, body)
    assert VersionStore(stage.root).trusted_keys.stat().st_mode & 0o777 == 0o644


def test_a_device_that_was_away_takes_both(stage: Stage) -> None:
    put(stage, render(FIRST))

    async def body() -> None:
        await offer(stage, ADD, RETIRE)
        async with stage.agent():
            await holds(stage, RETIRED)

    play(stage, body)


def test_an_old_list_brings_no_revoked_key_back(stage: Stage) -> None:
    put(stage, render(RETIRED))

    async def body() -> None:
        await offer(stage, ADD)
        async with stage.agent():
            await holds(stage, RETIRED)
            later = replace(RETIRED, number=3)
            await offer(stage, ADD, sign_keys(later, NEW))
            await holds(stage, later)

    play(stage, body)


def test_a_list_that_the_server_made_is_refused_and_told(stage: Stage) -> None:
    """Also by a server that replaces the good list by its own."""
    put(stage, render(FIRST))
    forged = sign_keys(TrustedKeys((FOREIGN.public,), number=7), FOREIGN)

    async def body() -> None:
        async with stage.agent():
            await offer(stage, forged)
            await stage.logged(_REFUSED)
            await holds(stage, FIRST, refused="not trusted here")
            assert VersionStore(stage.root).trusted() == FIRST
            await offer(stage, ADD)
            await holds(stage, BOTH)

    play(stage, body)


@pytest.mark.parametrize("data", [b"", b"no list", b'{"type":"manifest"}'], ids=["empty", "no list", "a manifest"])
def test_a_list_on_the_disk_that_does_not_parse_is_told_and_left_alone(stage: Stage, data: bytes) -> None:
    put(stage, data)

    async def body() -> None:
        await offer(stage, ADD)
        async with stage.agent():
            await stage.logged(_REFUSED)
            wanted = HeldKeys(0, digest_of(data))

            def told(info: DeviceInfo | None) -> bool:
                held = info.release_keys if info else None
                return held is not None and replace(held, refused="") == wanted and "does not parse" in held.refused

            await stage.eventually(stage.info, told, "it says that its list does not parse")

    play(stage, body)
    assert VersionStore(stage.root).trusted_keys.read_bytes() == data


class Server:
    """The server of a stage, as a rotation finds it installed."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def run(self, password: str, role: str, work: Callable[[Bus], Coroutine[Any, Any, T]]) -> T:
        del password

        async def go() -> T:
            bus = await connect(self.stage.nats.login(role), notice=lambda _: None)
            try:
                return await work(bus)
            finally:
                await bus.close()

        return asyncio.run(go())

    def awaited_and_left(self) -> tuple[list[str], list[str]]:
        return [str(self.stage.device)], []


def owned(folder: Path) -> KeyFiles:
    """What an owner has whose devices were set up with `FIRST`."""
    files = KeyFiles(folder / "release.key", folder / "release-2.key", folder / "trusted-keys.json")
    files.old.touch(mode=0o600)
    files.old.write_bytes(OLD.render())
    files.trusted.write_bytes(render(FIRST))
    return files


def driven(stage: Stage, files: KeyFiles, goal: Goal = Goal.FORWARD) -> Driven:
    ground = Ground(cast("Installed", Server(stage)), files, writes=True)
    return drive(ground, goal, timeout=30, progress=lambda _: None, check=lambda: None)


def test_the_command_has_another_key_follow(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Device, server and the owner's files are real; a second call changes nothing, and there is no way back."""
    put(stage, render(FIRST))
    files = owned(tmp_path_factory.mktemp("owner"))

    async def body() -> None:
        async with stage.agent():
            await holds(stage, FIRST)
            assert await asyncio.to_thread(driven, stage, files) == Driven(acted=True)
            after = VersionStore(stage.root).trusted()
            assert (after.number, [key.revoked for key in after.keys]) == (2, [True, False])
            assert after.keys[1] == ReleaseKey.load(files.new).public
            assert files.trusted.read_bytes() == render(after)
            assert await asyncio.to_thread(driven, stage, files) == Driven(acted=False)
            with pytest.raises(NotPermitted, match="there is no way back"):
                await asyncio.to_thread(driven, stage, files, Goal.BACK)
            # The owner's file of before the rotation follows what the server keeps; it lacks the list before that.
            files.trusted.write_bytes(render(FIRST))
            with pytest.raises(Conflict, match="does not lead to"):
                await asyncio.to_thread(driven, stage, files)

    play(stage, body)
    assert files.new.stat().st_mode & 0o777 == 0o600


def test_the_command_takes_a_key_back(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A command that was killed once the list was written down, and one that was killed once it was offered."""
    put(stage, render(FIRST))
    files = owned(tmp_path_factory.mktemp("owner"))
    files.new.touch(mode=0o600)
    files.new.write_bytes(NEW.render())
    files.trusted.write_bytes(render(BOTH))

    async def body() -> None:
        async with stage.agent():
            await holds(stage, FIRST)
            ground = Ground(cast("Installed", Server(stage)), files, writes=True)
            assert decide(await asyncio.to_thread(ground.look), ground.old, ground.new, Goal.FORWARD) is Step.AGAIN
            await asyncio.to_thread(ground.take, Step.AGAIN)
            with pytest.raises(Conflict):
                await asyncio.to_thread(ground.take, Step.AGAIN)
            await holds(stage, replace(BOTH, number=2))
            assert await asyncio.to_thread(driven, stage, files, Goal.BACK) == Driven(acted=True)
            after = VersionStore(stage.root).trusted()
            assert (after.number, [key.revoked for key in after.keys]) == (3, [False, True])

    play(stage, body)


def test_a_device_that_trusts_no_key_is_given_none(stage: Stage) -> None:
    """Nobody but its owner makes it a device that takes agents."""

    async def body() -> None:
        await offer(stage, ADD, RETIRE)
        async with stage.agent():
            await stage.eventually(
                stage.info, lambda info: info is not None and info.release_keys == HeldKeys(), "it trusts none"
            )

    play(stage, body)
    assert not VersionStore(stage.root).trusted_keys.exists()
