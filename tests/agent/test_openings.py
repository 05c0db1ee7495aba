"""A process that opens secrets, and hangs, delays what needs secrets, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fleet.agent import openings, sealing
from fleet.agent.desired_reader import Told
from fleet.agent.desired_state import Deployment, DesiredState
from fleet.agent.openings import Openings
from fleet.agent.problems import Waits
from fleet.agent.sealing import Sealing
from fleet.agent.unseal import Answer, Ask, Opened
from fleet.contract.mounts import File
from fleet.contract.sealed import Contents, FromSecret, Sealed
from fleet.contract.wire import Container, Container2, Phase, Reason
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage
from tests.agent.test_secrets import deploy, runs_with, sealing_key

WEB = Container2("web:1", secret_env={"PASSWORD": FromSecret("db", "password")})
APP = Container("app:1")
KEY = "A" * 43 + "="
SEALED = Deployment(1, WEB, sealed=Sealed(KEY, "1", b"sealed"), secrets="1")


class Process:
    """What opens secrets: it hangs until `go_on` is set."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.asked: list[set[str]] = []

    async def call(self, _module: str, *, stdin: bytes, within: float) -> tuple[int, bytes]:
        assert within
        wanted = msgspec.json.decode(stdin, type=Ask).sealed
        self.asked.append(set(wanted))
        await self.go_on.wait()
        return 0, msgspec.json.encode(
            Answer("key", {name: Opened(f"of {one.version}") for name, one in wanted.items()})
        )


class Device:
    """A device's desired state, and each that was handed over."""

    def __init__(self, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sealing, "call", process.call)
        self.known: DesiredState = {}
        self.heard: asyncio.Queue[DesiredState] = asyncio.Queue()
        self.openings = Openings(Sealing(Path("key"), "pi-1"), lambda: self.known, self._hear)

    def _hear(self, desired_state: DesiredState, _orders: object) -> None:
        self.known = desired_state
        self.heard.put_nowait(desired_state)

    def digest(self, name: str) -> str:
        workload = self.known[name].workload
        return workload.secrets_digest if isinstance(workload, Container2) else ""


def test_what_needs_no_secret_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openings, "_PATIENCE", 0.01)

    async def body() -> None:
        process = Process()
        device = Device(process, monkeypatch)
        opening = asyncio.create_task(device.openings.run())
        await device.openings.take(Told({"web": SEALED, "app": Deployment(1, APP)}, ()))
        found = await device.heard.get()
        assert found["app"].workload == APP
        assert (found["web"].workload, found["web"].generation) == (None, 1), "it is not removed, and not begun"
        assert isinstance(found["web"].problem, Waits)
        await device.openings.take(Told({"web": SEALED, "app": Deployment(2, APP)}, ()))
        assert (await device.heard.get())["app"].generation == 2
        renewed = msgspec.structs.replace(SEALED, sealed=Sealed(KEY, "2", b"sealed anew"), secrets="2")
        await device.openings.take(Told({"web": SEALED, "new": renewed}, ()))
        assert "app" not in await device.heard.get()
        process.go_on.set()
        found = await device.heard.get()
        assert (device.digest("web"), found["web"].problem) == ("of 1", None)
        assert isinstance(found["new"].problem, Waits), "it came while the other was opened"
        await device.heard.get()
        assert (device.digest("web"), device.digest("new")) == ("of 1", "of 2")
        assert process.asked == [{"web"}, {"new"}]
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)

    asyncio.run(body())


def test_secrets_that_open_soon_are_waited_for_and_all_of_it_is_handed_over_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openings, "_PATIENCE", 1000)

    async def body() -> None:
        process = Process()
        process.go_on.set()
        device = Device(process, monkeypatch)
        opening = asyncio.create_task(device.openings.run())
        await device.openings.take(Told({"web": SEALED, "app": Deployment(1, APP)}, ()))
        assert device.heard.qsize() == 1
        assert (device.digest("web"), device.known["app"].workload) == ("of 1", APP)
        await device.openings.take(Told({"web": SEALED}, ()))
        assert (device.heard.qsize(), process.asked) == (2, [{"web"}]), "what is known is not opened again"
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)

    asyncio.run(body())


def test_a_seal_that_did_not_open_keeps_its_reason_while_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openings, "_PATIENCE", 0.01)

    async def late(*_: object, **__: object) -> tuple[int, bytes]:
        if not process.asked:
            process.asked.append(set())
            raise TimeoutError
        await process.go_on.wait()
        raise TimeoutError

    process = Process()

    async def body() -> None:
        device = Device(process, monkeypatch)
        monkeypatch.setattr(sealing, "call", late)
        opening = asyncio.create_task(device.openings.run())
        for _ in range(2):
            await device.openings.take(Told({"web": SEALED}, ()))
            problem = (await device.heard.get())["web"].problem
            assert problem is not None
            assert "did not end in time" in problem.message
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)

    asyncio.run(body())


def test_a_container_of_another_deployment_is_made_meanwhile(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process hangs when the values are wanted, as a container is about to be made."""
    with_secrets = Container(
        image=IMAGE,
        command=("sleep", "1000000"),
        secret_env={"PASSWORD": FromSecret("db", "password")},
        files=(File("/etc/key", secret=FromSecret("db", "key")),),
    )
    real = sealing.call

    async def body() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def call(module: str, *arguments: str, stdin: bytes = b"", within: float) -> tuple[int, bytes]:
            if msgspec.json.decode(stdin, type=Ask).contents:
                begun.set()
                await go_on.wait()
            return await real(module, *arguments, stdin=stdin, within=within)

        monkeypatch.setattr(sealing, "call", call)
        async with stage.agent():
            key = await sealing_key(stage)
            await deploy(stage, with_secrets, Contents({"PASSWORD": "horse"}, {"/etc/key": b"key"}), key=key)
            await begun.wait()
            await stage.deploy("other", STAYS)
            await stage.until("other", Phase.RUNNING, Reason.STARTED)
            assert "web" not in await stage.containers()
            go_on.set()
            await runs_with(stage, "1")

    stage.play(body)
