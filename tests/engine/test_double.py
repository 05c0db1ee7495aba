"""What only the double does: faults on demand, a registry of files, and an end that leaves nothing running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from fleet.agent.answers import EngineRefused, is_gone
from fleet.agent.engine import Engine
from fleet.contract.wire import Container, Port, Protocol, Reason
from harness.doubles.engine import process
from harness.doubles.engine.log import Log, Wanted
from harness.engine.select import running_double
from harness.images import PAGE, busybox_archive
from harness.processes.ports import free_port
from harness.processes.spawn import socket_answers
from harness.wait import wait_until
from tests.engine.lab import STAYS, Lab, workload
from tests.engine.test_images_ports import get

SPEC = process.Spec(
    root="",
    argv=[],
    env={},
    folder="",
    log="",
    ports=[],
    hostname="",
    network="",
    mounts=[],
    shm=0,
    read_only=False,
    privileged=False,
    cap_add=[],
    cap_drop=[],
    security=[],
    ulimits=[],
    user="",
)


@pytest.fixture
def home() -> Iterator[Path]:
    """A short folder, for the socket."""
    folder = Path(tempfile.mkdtemp(prefix="fe"))
    yield folder
    shutil.rmtree(folder)


def test_a_process_that_ends_during_a_look_spoils_it_for_nobody(home: Path) -> None:
    with double(home, "podman") as lab:

        async def body(engine: Engine) -> None:
            container = await lab.started(engine, workload(*STAYS))
            for path in ("/containers/json", f"/containers/{container}/json"):
                fault = {"path": path, "status": 500, "message": "read /proc/159/cgroup: no such process"}
                lab.raw.call("POST", "/_double/faults", json={**fault, "times": 2})
                (found,) = await engine.containers(lab.label)
                assert (found.id, found.unclear) == (container, "")
                lab.raw.call("POST", "/_double/faults", json=fault)
                if path == "/containers/json":
                    with pytest.raises(EngineRefused, match="no such process"):
                        await engine.containers(lab.label)
                else:
                    assert "no such process" in (await engine.containers(lab.label))[0].unclear
                lab.raw.call("DELETE", "/_double/faults")

        lab.run(body)


def test_a_log_bears_its_times_also_before_anybody_looked(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"line 1\nline 2\n")
    log = Log(tmp_path / "log", running=lambda: False)

    async def read(since: float) -> bytes:
        return b"".join([frame async for frame in log.frames(Wanted(None, since, follow=False))])

    assert asyncio.run(read(time.time() + 60)) == b""
    assert asyncio.run(read(0)).endswith(b"line 1\nline 2\n")


def test_a_container_has_not_ended_while_its_shim_holds_the_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "shim.py"
    shim.write_text(f"""import os
os.write(1, b'{{"started": 1}}\\n{{"ended": 7}}\\n')
os.close(1)
open({str(tmp_path / "end")!r}).read()
""")
    os.mkfifo(tmp_path / "end")
    monkeypatch.setattr(process, "_SHIM", shim)

    async def body() -> None:
        running = await process.Process.start(SPEC)
        ended = asyncio.create_task(running.wait())
        await asyncio.wait({ended}, timeout=0.3)
        assert not ended.done()
        (tmp_path / "end").write_text("")
        assert await ended == 7

    asyncio.run(body())


@contextlib.contextmanager
def double(home: Path, manners: str = "docker") -> Generator[Lab]:
    with running_double(home, manners) as path:
        lab = Lab(str(path))
        lab.raw.load(busybox_archive())
        yield lab
        lab.raw.close()


def alive(pid: int) -> bool:
    """Whether it runs. One that has ended stays listed until its parent asks, and an orphan's may take its time."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def test_an_orphan_that_nobody_has_reaped_is_not_alive() -> None:
    ended = subprocess.Popen(["true"])
    wait_until(lambda: not alive(ended.pid), "it has ended, and is still listed", timeout=30)
    assert Path(f"/proc/{ended.pid}").exists()
    ended.wait()
    assert not alive(ended.pid)


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


def test_with_podmans_manners_a_look_begun_before_a_removal_is_a_500(home: Path) -> None:
    with double(home, "podman") as lab:

        async def body(engine: Engine) -> None:
            container = await lab.make(engine, workload(*STAYS))
            await engine.remove(container)
            look = await asyncio.to_thread(lab.raw.call, "GET", f"/containers/{container}/json")
            assert look.status_code == 500
            assert is_gone(look.status_code, look.json()["message"])
            again = await asyncio.to_thread(lab.raw.call, "GET", f"/containers/{container}/json")
            assert again.status_code == 404

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
    wait_until(lambda: not alive(pid), "the container's process ended with the double", timeout=30)
    with double(home) as again:
        state = again.raw.call("GET", f"/containers/{container}/json").json()["State"]
        assert state["Status"] == "running"
        assert state["Pid"] != pid


def test_a_killed_double_leaves_nothing_running(home: Path) -> None:
    argv = [sys.executable, "-m", "harness.doubles.engine", "--socket", str(home / "s"), "--state", str(home / "state")]
    process = subprocess.Popen(argv)
    try:
        wait_until(lambda: socket_answers(home / "s"), "the double listens", timeout=30)
        lab = Lab(str(home / "s"))
        lab.raw.load(busybox_archive())
        pids: list[int] = []

        async def body(engine: Engine) -> None:
            container = await lab.started(engine, workload("sh", "-c", "sleep 1000000 & sleep 1000000 & wait"))
            pids.append(lab.raw.call("GET", f"/containers/{container}/json").json()["State"]["Pid"])

        lab.run(body)
        lab.raw.close()
        children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children")
        wait_until(lambda: len(children.read_text().split()) == 2, "both sleep", timeout=30)
        pids += [int(pid) for pid in children.read_text().split()]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(lambda: [pid for pid in pids if alive(pid)] == [], "nothing is left", timeout=30)


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
