"""What only the double does: faults on demand, a registry of files, and an end that leaves nothing running."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from fleet.agent.answers import EngineRefused
from fleet.agent.engine import Engine
from fleet.contract.wire import Container, Port, Protocol, Reason
from harness.engine import running_double
from harness.images import PAGE, busybox_archive
from harness.process import socket_answers
from harness.wait import wait_until
from tests.engine.lab import STAYS, Lab, free_port, workload
from tests.engine.test_images_ports import get


@pytest.fixture
def home() -> Iterator[Path]:
    """A short folder, for the socket."""
    folder = Path(tempfile.mkdtemp(prefix="fe"))
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def double(home: Path) -> Generator[Lab]:
    with running_double(home) as path:
        lab = Lab(str(path))
        lab.raw.load(busybox_archive())
        yield lab
        lab.raw.close()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_fault_meets_as_many_requests_as_it_says(home: Path) -> None:
    with double(home) as lab:
        lab.raw.call("POST", "/_double/faults", json={"path": "/start$", "status": 503, "message": "sorry", "times": 1})

        async def body(engine: Engine) -> None:
            container = await lab.make(engine, workload(*STAYS))
            with pytest.raises(EngineRefused, match="sorry") as refused:
                await engine.start(container)
            assert refused.value.status == 503
            await engine.start(container)

        lab.run(body)


def test_a_fault_hangs_until_it_is_removed(home: Path) -> None:
    with double(home) as lab:
        lab.raw.call("POST", "/_double/faults", json={"path": "^/version$"})

        async def body(engine: Engine) -> None:
            asked = asyncio.create_task(engine.version())
            done, _ = await asyncio.wait({asked}, timeout=0.3)
            assert not done
            await asyncio.to_thread(lab.raw.call, "DELETE", "/_double/faults")
            assert "Engine double" in await asked

        lab.run(body)


def test_what_the_registry_has_can_be_pulled(home: Path) -> None:
    registry = home / "state/registry"
    registry.mkdir(parents=True)
    (registry / "blue.tar").write_bytes(busybox_archive("fleet-test/blue:2", page=b"blue\n"))
    with double(home) as lab:

        async def body(engine: Engine) -> None:
            assert not await engine.has_image("fleet-test/blue:2")
            await engine.pull("fleet-test/blue:2")
            assert await engine.has_image("fleet-test/blue:2")
            with pytest.raises(EngineRefused, match="does not exist"):
                await engine.pull("fleet-test/blue:3")
            port = free_port()
            served = workload(
                "httpd", "-f", "-p", "80", "-h", "/www", image="fleet-test/blue:2", ports=(Port(port, 80),)
            )
            await lab.started(engine, served)
            assert await asyncio.to_thread(get, port) == b"blue\n" != PAGE

        lab.run(body)


def test_containers_end_with_the_double_and_come_back_with_it(home: Path) -> None:
    with double(home) as lab:

        async def make(engine: Engine) -> str:
            return await lab.started(engine, workload(*STAYS))

        container = lab.run(make)
        pid = lab.raw.call("GET", f"/containers/{container}/json").json()["State"]["Pid"]
        assert alive(pid)
    wait_until(lambda: not alive(pid), "the container's process ended with the double", timeout=5)
    with double(home) as again:
        state = again.raw.call("GET", f"/containers/{container}/json").json()["State"]
        assert state["Status"] == "running"
        assert state["Pid"] != pid


def test_a_killed_double_leaves_nothing_running(home: Path) -> None:
    argv = [sys.executable, "-m", "harness.doubles.engine", "--socket", str(home / "s"), "--state", str(home / "state")]
    process = subprocess.Popen(argv)
    try:
        wait_until(lambda: socket_answers(home / "s"), "the double listens", timeout=10)
        lab = Lab(str(home / "s"))
        lab.raw.load(busybox_archive())
        pids: list[int] = []

        async def body(engine: Engine) -> None:
            container = await lab.started(engine, workload("sh", "-c", "sleep 1000000 & sleep 1000000 & wait"))
            pids.append(lab.raw.call("GET", f"/containers/{container}/json").json()["State"]["Pid"])

        lab.run(body)
        lab.raw.close()
        children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children")
        wait_until(lambda: len(children.read_text().split()) == 2, "both sleep", timeout=5)
        pids += [int(pid) for pid in children.read_text().split()]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(lambda: [pid for pid in pids if alive(pid)] == [], "nothing is left", timeout=5)


def test_a_udp_port_is_taken_beside_the_same_tcp_port(home: Path) -> None:
    port = free_port()

    def on(protocol: Protocol) -> Container:
        return workload(*STAYS, ports=(Port(port, 7, protocol),))

    with double(home) as lab:

        async def body(engine: Engine) -> None:
            await lab.started(engine, on(Protocol.TCP), "tcp")
            await lab.started(engine, on(Protocol.UDP), "udp")
            second = await lab.make(engine, on(Protocol.UDP), "second")
            with pytest.raises(EngineRefused) as refused:
                await engine.start(second)
            assert refused.value.problem.reason is Reason.PORT_IN_USE

        lab.run(body)


def test_a_signal_that_process_one_does_not_handle_ends_in_the_grace(home: Path) -> None:
    """As in a real pid namespace, and therefore the image's stop signal is SIGKILL."""
    with double(home) as lab:

        async def body(engine: Engine) -> None:
            container = await lab.started(engine, workload(*STAYS))
            await asyncio.to_thread(lab.raw.call, "POST", f"/containers/{container}/kill", params={"signal": "SIGTERM"})
            state = (await lab.look(engine, container)).state
            assert state.status == "running"
            await asyncio.to_thread(lab.raw.call, "POST", f"/containers/{container}/kill")
            seen = await lab.until(engine, container, "it was killed", lambda one: one.state.exit_code == 137)
            assert seen.state.status in {"restarting", "running"}

        lab.run(body)
