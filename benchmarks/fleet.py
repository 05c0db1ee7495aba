"""A fleet of thousands, simulated: how soon Kubernetes tells the truth of it, and what that costs the operator."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.crowd import Crowd
from benchmarks.load import raise_file_limit
from benchmarks.plain import AT_ONCE, Plain, device, plain
from benchmarks.report import Table
from benchmarks.server import running_nats
from benchmarks.usage import cpu_seconds, memory_mib
from fleet.contract.buckets import APP_USER
from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES
from fleet.contract.wire import Phase
from fleet.nats.bus import connect
from tests.support.kube import Kube, running_kube
from tests.support.nats import Nats
from tests.support.operator import Operator, define_kinds
from tests.support.tls import make_tls

SIZES = (1_000, 10_000)
_REST = 60.0
"""Seconds that the operator is watched while nothing happens but heartbeats."""
_RESYNC = 300
"""Seconds after which the operator reads everything again: its default."""
_CHANGES = 20
_REPORTS_AT_ONCE = 100
"""Reports that are sent before the loop sees to something else."""
_LOOK = 0.005
"""Seconds between two looks at what devices were told."""
_DEADLINE = 400.0

Json = dict[str, Any]


@dataclass
class Seen:
    """The newest of each object that a watch told."""

    devices: dict[str, Json] = field(default_factory=dict[str, Json])
    deployments: dict[str, Json] = field(default_factory=dict[str, Json])
    enrolled: set[str] = field(default_factory=set[str])
    online: set[str] = field(default_factory=set[str])
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def device(self, item: Json) -> None:
        name = item["metadata"]["name"]
        self.devices[name] = item
        if condition(item, "Enrolled")[0] == "True":
            self.enrolled.add(name)
        if condition(item, "Online")[0] == "True" and item["status"].get("info"):
            self.online.add(name)
        self.news.set()

    def deployment(self, item: Json) -> None:
        self.deployments[item["metadata"]["name"]] = item
        self.news.set()

    def ready(self, deployment: str) -> str:
        """Why a deployment is ready or not."""
        return condition(self.deployments.get(deployment, {}), "Ready")[1]

    async def until(self, true: Callable[[], bool], what: str) -> float:
        """Seconds until something is seen."""
        started = time.monotonic()
        while not true():
            self.news.clear()
            try:
                async with asyncio.timeout(_DEADLINE):
                    await self.news.wait()
            except TimeoutError as error:
                raise TimeoutError(f"not seen within {_DEADLINE:g} s: {what}") from error
        return time.monotonic() - started


def condition(item: Json, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty where it is not there."""
    found = [one for one in item.get("status", {}).get("conditions", ()) if one["type"] == kind]
    return (found[0]["status"], found[0]["reason"]) if found else ("", "")


@dataclass
class Figures:
    """What one fleet came to."""

    devices: int
    values: dict[str, str] = field(default_factory=dict[str, str])

    def put(self, what: str, value: str) -> None:
        self.values[what] = value
        print(f"{self.devices} devices: {what}: {value}", file=sys.stderr, flush=True)


class Stage:
    """One fleet with its operator."""

    def __init__(self, kube: Kube, nats: Nats, root: Path, count: int) -> None:
        self.kube = kube
        self.names = [f"device-{number:05}" for number in range(count)]
        self.namespace, self.peers = kube.namespace(), kube.namespace()
        self.operator = Operator(kube, nats, root / self.namespace, self.namespace, resync=_RESYNC)
        self.figures = Figures(count)
        self.nats = nats
        self.seen = Seen()

    async def play(self) -> Figures:
        admin = self.kube.service_account(self.peers, "plain")
        self.kube.kubectl(
            *("create", "clusterrolebinding", self.peers, "--clusterrole=cluster-admin"),
            f"--serviceaccount={self.peers}:plain",
        )
        bus = await connect(self.nats.login(APP_USER, "crowd"), notice=lambda _: None)
        crowd = Crowd(bus, self.names)
        async with plain(admin) as client, asyncio.TaskGroup() as tasks:
            watches = [
                tasks.create_task(client.watch(self.namespace, DEVICES, self.seen.device)),
                tasks.create_task(client.watch(self.namespace, DEPLOYMENTS, self.seen.deployment)),
            ]
            await self._enroll(client)
            await crowd.listen()
            beats = tasks.create_task(self._beats(crowd))
            await self._appear(client)
            await self._rest()
            await self._list("at rest", "device")
            await self._change(client, crowd)
            await self._fan_out(client, crowd)
            await self._list("while statuses are written", "device", "deployment")
            await self._restart()
            for task in (*watches, beats):
                task.cancel()
        await bus.close()
        self.operator.close()
        return self.figures

    async def _enroll(self, client: Plain) -> None:
        await client.create(self.namespace, DEVICES, self._objects())
        await client.create(self.peers, DEVICES, self._objects())
        started = time.monotonic()
        await asyncio.to_thread(self.operator.start)
        await self.seen.until(
            lambda: (
                sum(condition(item, "Enrolled")[0] == "True" for item in self.seen.devices.values()) == len(self.names)
            ),
            "every device is enrolled",
        )
        self.figures.put("operator started to all enrolled", f"{time.monotonic() - started:.1f} s")

    def _objects(self) -> list[Json]:
        return [
            device(name, subject=f"sub-{name}", labels={"device": name, "site": f"site-{number % 10}"})
            for number, name in enumerate(self.names)
        ]

    async def _beats(self, crowd: Crowd) -> None:
        await crowd.appear()
        await crowd.beat()

    async def _appear(self, client: Plain) -> None:
        begun, used = time.monotonic(), cpu_seconds(self._pid)
        await self.seen.until(lambda: len(self.seen.online) == len(self.names), "every device is online")
        ours, ours_cpu = time.monotonic() - begun, cpu_seconds(self._pid) - used
        self.figures.put("heartbeats sent to all online", f"{ours:.1f} s")
        statuses = {name: self.seen.devices[name]["status"] for name in self.names}
        begun = time.monotonic()
        await client.write_statuses(self.peers, DEVICES, statuses)
        peer = time.monotonic() - begun
        self.figures.put("the same statuses by a plain client", f"{peer:.1f} s")
        self.figures.put("ours to the plain client's", f"{ours / peer:.2f}")
        self.figures.put("operator CPU until all online", f"{ours_cpu:.1f} s")

    async def _rest(self) -> None:
        await asyncio.sleep(15)
        used, began = cpu_seconds(self._pid), time.monotonic()
        await asyncio.sleep(_REST)
        share = (cpu_seconds(self._pid) - used) / (time.monotonic() - began)
        self.figures.put("of one core at rest", f"{share:.1%}")

    async def _change(self, client: Plain, crowd: Crowd) -> None:
        chosen = self.names[:: max(1, len(self.names) // _CHANGES)][:_CHANGES]
        times: list[float] = []
        for number, name in enumerate(chosen):
            app = f"one-{number}"
            await self._deploy(client, app, {"device": name})
            await _looked(lambda app=app, name=name: app in crowd.told(name))
            begun = time.monotonic()
            await crowd.report(name, app, crowd.told(name)[app], Phase.FAILED)
            await crowd.flush()
            await self.seen.until(lambda app=app: self.seen.ready(app) == "DevicesFailed", "the failure")
            times.append(time.monotonic() - begun)
        self.figures.put("one change seen, median", f"{statistics.median(times):.2f} s")
        self.figures.put("one change seen, slowest", f"{max(times):.2f} s")

    async def _deploy(self, client: Plain, name: str, select: dict[str, str]) -> None:
        spec = {"workload": {"type": "container", "image": "app:1"}, "selector": {"matchLabels": select}}
        body = {"apiVersion": API_VERSION, "kind": "FleetDeployment", "metadata": {"name": name}, "spec": spec}
        await client.create(self.namespace, DEPLOYMENTS, [body])

    async def _fan_out(self, client: Plain, crowd: Crowd) -> None:
        begun, used = time.monotonic(), cpu_seconds(self._pid)
        await self._deploy(client, "all", {})
        for name in self.names:
            await _looked(lambda name=name: "all" in crowd.told(name))
        last = max(crowd.heard[name][0] for name in self.names)
        self.figures.put("deployment applied to all devices told", f"{last - begun:.1f} s")
        begun = time.monotonic()
        for number, name in enumerate(self.names):
            await crowd.report(name, "all", crowd.told(name)["all"])
            if number % _REPORTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        await crowd.flush()
        await self.seen.until(lambda: self.seen.ready("all") == "AllReady", "all are ready")
        self.figures.put("all reported to AllReady", f"{time.monotonic() - begun:.1f} s")
        self.figures.put("operator CPU for both", f"{cpu_seconds(self._pid) - used:.1f} s")
        self.figures.put("operator memory, most ever", f"{memory_mib(self._pid, 'VmHWM'):.0f} MiB")

    async def _list(self, when: str, *nouns: str) -> None:
        env = {**os.environ, "KUBECONFIG": str(self.kube.kubeconfig)}
        for noun in nouns:
            argv = [str(Path(sys.executable).with_name("fleet")), noun, "list", "--namespace", self.namespace]
            times: list[float] = []
            for _ in range(3):
                begun = time.monotonic()
                done = await asyncio.to_thread(subprocess.run, argv, env=env, capture_output=True, check=False)
                if done.returncode:
                    raise RuntimeError(done.stderr.decode())
                times.append(time.monotonic() - begun)
            self.figures.put(f"fleet {noun} list, {when}", f"{min(times):.2f} s")

    async def _restart(self) -> None:
        await asyncio.to_thread(self.operator.kill)
        begun = time.monotonic()
        await asyncio.to_thread(self.operator.start)
        await _looked(lambda: not self.operator.readiness())
        self.figures.put("operator restarted to informed", f"{time.monotonic() - begun:.1f} s")

    @property
    def _pid(self) -> int:
        assert self.operator.process
        return self.operator.process.pid


async def _looked(true: Callable[[], bool]) -> None:
    """Wait for what nobody tells."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK)


def run(sizes: Sequence[int] = SIZES) -> Table:
    """Play each size in a world of its own."""
    raise_file_limit(4096)
    figures: list[Figures] = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            nats = Nats(root / "nats", make_tls(root), sealed=False)
            with running_nats(nats), running_kube(root / "kube") as kube:
                define_kinds(kube)
                figures.append(asyncio.run(Stage(kube, nats, root, count).play()))
    return Table(
        "fleet",
        ("what", *(f"{one.devices:,} devices" for one in figures)),
        tuple((name, *(one.values[name] for one in figures)) for name in figures[0].values),
        (
            "A real API server with etcd, a real nats-server, one operator; the devices are one process that says and "
            "hears what theirs would, over one connection, with a heartbeat each 10 s. The plain client writes the "
            f"statuses that the operator wrote into as many other objects, {AT_ONCE} at a time, in the same run. "
            f"`one change` is from a device's report of a failure to the condition of its deployment, {_CHANGES} "
            "times. All of it shares the cores.",
        ),
    )
