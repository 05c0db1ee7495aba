"""What breaks around the agent: it reports what it can, loses nothing, and goes on when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.contract.errors import Unreachable
from fleet.contract.wire import Container, Phase, Reason
from harness.engine.client import EngineClient
from harness.engine.select import running_double
from harness.errors import HarnessError
from harness.images import busybox_archive
from tests.agent.stage import STAYS, Stage
from tests.support.callout import active, identities, revoked


def test_a_boot_without_network_restores_the_workloads(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
        before = (await stage.containers())["web"]
        await asyncio.to_thread(stage.raw.call, "DELETE", f"/containers/{before.id}", params={"force": "1"})
        stage.issuer_error = Unreachable("no network", next_step="wait")
        async with stage.agent():

            async def running() -> bool:
                found = (await stage.containers()).get("web")
                return found is not None and found.state.status == "running"

            await stage.eventually(running, bool, "web runs again")
        assert "no token from the issuer" in [line["event"] for line in stage.logs]

    stage.play(body)


def test_nats_goes_and_comes_back(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await asyncio.to_thread(stage.nats.stop)
            await stage.logged("disconnected; workloads go on")
            assert (await stage.containers())["web"] == before
            # Not in a thread: the server dies with the thread that started it.
            stage.nats.start()
            await stage.deploy("second", STAYS)
            await stage.until("second", Phase.RUNNING, Reason.STARTED, within=20)
            assert (await stage.containers())["web"] == before

    stage.play(body)


def test_the_agent_waits_for_an_issuer(stage: Stage) -> None:
    async def body() -> None:
        stage.issuer_error = Unreachable("the issuer is down", next_step="wait")
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.logged("no token from the issuer")
            stage.issuer_error = None
            await stage.until("web", Phase.RUNNING, Reason.STARTED)

    stage.play(body)


def test_the_token_is_renewed_before_it_expires_and_the_session_goes_on(stage: Stage) -> None:
    stage.lifetime = 4

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)

            async def asked() -> int:
                return stage.asked

            await stage.eventually(asked, lambda times: times >= 3, "a third token", within=12)
            await stage.deploy("second", STAYS)
            await stage.until("second", Phase.RUNNING, Reason.STARTED)
        told = [str(line.get("why", "")).lower() for line in stage.logs if line["event"] == "NATS"]
        assert not [why for why in told if "expired" in why]

    stage.play(body)


def test_a_revoked_device_keeps_its_workloads_and_comes_back_when_it_may(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent(), identities(stage.nats) as registry:
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await registry.put(stage.subject, revoked(stage.device))
            await stage.kick()
            await stage.logged("NATS", "authorization violation")
            assert (await stage.containers())["web"] == before
            await registry.put(stage.subject, active(stage.device))
            await stage.deploy("second", STAYS)
            await stage.until("second", Phase.RUNNING, Reason.STARTED, within=20)
            assert (await stage.containers())["web"] == before

    stage.play(body)


@pytest.fixture
def small_disk(stage: Stage) -> Iterator[Path]:
    """A disk of 32 KB where the agent keeps its state."""
    folder = stage.root / "var/lib/fleet"
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "fleet-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise HarnessError(f"cannot mount a small disk: {done.stderr.strip()}", next_step="run this test as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def test_a_full_disk_is_reported_and_the_workload_runs(stage: Stage, small_disk: Path) -> None:
    stage.resync = 0.5
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            state = await stage.until("web", Phase.RUNNING, Reason.STATE_NOT_SAVED)
            assert "No space left" in state.message
            assert (await stage.containers())["web"].state.status == "running"
            assert names(small_disk) == ["filler"]
            (small_disk / "filler").unlink()
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            assert (small_disk / "desired.json").stat().st_mode & 0o777 == 0o600

    stage.play(body)


@pytest.fixture
def own_double(stage: Stage) -> Path:
    """An engine double of this test's own, that it may end."""
    home = stage.root / "engine"
    home.mkdir()
    link = stage.root / "run/docker.sock"
    link.unlink()
    link.symlink_to(home / "docker.sock")
    return home


def test_an_engine_goes_and_comes_back(stage: Stage, own_double: Path) -> None:
    def load() -> None:
        client = EngineClient(str(own_double / "docker.sock"))
        client.load(busybox_archive())
        client.close()

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.FAILED, Reason.ENGINE_UNAVAILABLE)
            with running_double(own_double):
                await asyncio.to_thread(load)
                first = await stage.until("web", Phase.RUNNING, Reason.STARTED, within=15)
            await stage.until("web", Phase.FAILED, Reason.ENGINE_UNAVAILABLE)
            with running_double(own_double):
                again = await stage.until("web", Phase.RUNNING, Reason.STARTED, within=15)
                assert again.container_id == first.container_id

    stage.play(body)


def test_an_engine_that_fails_one_request_is_tried_again(stage: Stage) -> None:
    async def body() -> None:
        stage.plant(method="POST", path="/start$", status=500, message="a bad moment", times=1)
        async with stage.agent():
            await stage.deploy("web", STAYS)
            state = await stage.until("web", Phase.FAILED, Reason.ENGINE_ERROR)
            assert "a bad moment" in state.message
            await stage.until("web", Phase.RUNNING, Reason.STARTED)

    stage.play(body)


def test_one_hanging_deployment_does_not_hold_up_another(stage: Stage) -> None:
    async def body() -> None:
        stage.plant(method="POST", path="/images/create")
        async with stage.agent():
            await stage.deploy("slow", Container(image="fleet-test/absent:1"))
            await stage.until("slow", Phase.PENDING, Reason.PULLING)
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)

    stage.play(body)


def test_the_agent_ends_at_once_whatever_it_waits_for(stage: Stage) -> None:
    async def body() -> None:
        stage.plant(path=".")
        async with asyncio.timeout(12), stage.agent():
            await stage.eventually(stage.heartbeat, bool, "the agent is connected")

    stage.play(body)
