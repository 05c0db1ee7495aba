"""One device's agent between a real nats-server with the real callout, and an engine; and the operator's hand."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog.testing

from fleet.agent.agent import Agent
from fleet.agent.answers import Details
from fleet.agent.engine import Engine
from fleet.agent.logs.own import OwnLog
from fleet.agent.logs.server import LogServer
from fleet.agent.main import login_now
from fleet.agent.paths import AgentPaths
from fleet.contract.buckets import (
    APP_ACCOUNT,
    APP_BUCKETS,
    APP_USER,
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
    SYSTEM_USER,
)
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL
from fleet.contract.errors import FleetError
from fleet.contract.names import DeviceId
from fleet.contract.states import state_of
from fleet.contract.volumes import VolumeOrder
from fleet.contract.wire import (
    Container,
    Desired,
    DesiredIndex,
    DeviceInfo,
    DeviceState,
    Heartbeat,
    Phase,
    Reason,
    Workload,
)
from fleet.identity.access_token import AccessToken
from fleet.nats.bus import Bus, Entry, connect
from harness.engine.client import EngineClient
from harness.images import IMAGE
from harness.wait import WaitTimeout
from tests.support.callout import active, answering, callout_config, identities
from tests.support.issuer import PROJECT, Issuer
from tests.support.nats import Nats

STAYS = Container(image=IMAGE, command=("sleep", "1000000"))
Body = Callable[[], Coroutine[Any, Any, None]]


class Stage:
    def __init__(self, nats: Nats, issuer: Issuer, engine: str, root: Path) -> None:
        self.nats, self.issuer, self.root = nats, issuer, root
        self.device = DeviceId(f"pi-{secrets.token_hex(4)}")
        self.subject = str(secrets.randbelow(10**12))
        self.raw = EngineClient(engine)
        self.lifetime = 3600.0
        self.asked = 0
        self.issuer_error: FleetError | None = None
        self.resync = 60.0
        self.logs: list[Any] = []
        self.own_log = OwnLog()
        self.logs_of_agent: LogServer
        self._index: dict[str, int] = {}
        self._orders: tuple[VolumeOrder, ...] = ()
        (root / "run").mkdir()
        (root / "run/docker.sock").symlink_to(engine)
        self.bus: Bus

    @property
    def config(self) -> AgentConfig:
        key = MachineKey(user_id=self.subject, key_id="1", key="")
        return AgentConfig(
            device_id=self.device,
            nats_url=self.nats.url,
            auth=FleetDeviceAuth(self.issuer.url, PROJECT, key, self.nats.tls.ca),
            heartbeat_interval=0.5,
            resync_interval=self.resync,
        )

    def play(self, body: Body, *, within: float = 100) -> None:
        """Run `body` with a callout and an operator's connection; logs are kept in `logs`."""

        async def go() -> None:
            async with asyncio.timeout(within), identities(self.nats) as registry:
                await registry.put(self.subject, active(self.device))
                self.bus = await connect(self.nats.login(APP_USER), notice=lambda _: None)
                await self.bus.ensure(*APP_BUCKETS)
                try:
                    async with answering(callout_config(self.nats, self.issuer)):
                        await body()
                finally:
                    await self.bus.close()

        with structlog.testing.capture_logs() as self.logs:
            asyncio.run(go())

    @asynccontextmanager
    async def agent(self) -> AsyncGenerator[None]:
        """The agent, from its start to its SIGTERM."""
        agent = Agent(self.config, AgentPaths(self.root), self._ask, own_log=self.own_log)
        self.logs_of_agent = agent.logs
        work = asyncio.create_task(agent.run())
        try:
            yield
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    async def _ask(self) -> AccessToken:
        self.asked += 1
        if self.issuer_error is not None:
            raise self.issuer_error
        asked_at = time.monotonic()
        token = self.issuer.token(self.subject, exp=int(time.time() + self.lifetime))
        return AccessToken(token, asked_at + self.lifetime, self.lifetime, key_id=self._key())

    def _key(self) -> str:
        """The machine key that the agent would show to the issuer now."""
        return login_now(AgentPaths(self.root), self.config).machine_key.key_id

    async def deploy(self, name: str, workload: Workload, generation: int = 1) -> None:
        await self.bus.kv(DESIRED_STATE).put(f"{self.device}.{name}", Desired(generation, workload))
        await self.index(**{name: generation})

    async def write(self, name: str, data: bytes, generation: int = 1) -> None:
        """A value that no operator of ours would write."""
        await self.bus.client.jetstream().publish(DESIRED_STATE.subject(f"{self.device}.{name}"), data)
        await self.index(**{name: generation})

    async def index(self, **deployments: int) -> None:
        self._index |= deployments
        await self.bus.kv(DESIRED_INDEX).put(self.device, DesiredIndex(dict(self._index), self._orders))

    async def remove_volumes(self, *orders: VolumeOrder) -> None:
        self._orders = orders
        await self.index()

    async def withdraw(self, name: str, *orders: VolumeOrder) -> None:
        del self._index[name]
        await self.remove_volumes(*orders)
        await self.bus.kv(DESIRED_STATE).delete(f"{self.device}.{name}")

    async def state(self, name: str) -> DeviceState | None:
        entry = await self.bus.kv(DEVICE_STATE).get(self.device)
        return state_of(entry.value, name) if isinstance(entry, Entry) else None

    async def info(self) -> DeviceInfo | None:
        entry = await self.bus.kv(DEVICE_INFO).get(self.device)
        return entry.value if isinstance(entry, Entry) else None

    async def heartbeat(self) -> Heartbeat | None:
        entry = await self.bus.kv(DEVICE_HEARTBEAT).get(self.device)
        return entry.value if isinstance(entry, Entry) else None

    async def until(
        self,
        name: str,
        phase: Phase,
        reason: Reason,
        *,
        generation: int = 1,
        within: float = 30,
    ) -> DeviceState:
        """Wait until the device reports this of a deployment."""

        def good(state: DeviceState | None) -> bool:
            return state is not None and (state.phase, state.reason, state.generation) == (phase, reason, generation)

        state = await self.eventually(lambda: self.state(name), good, f"{name}: {phase} {reason}", within=within)
        assert state
        return state

    async def eventually(
        self,
        look: Callable[[], Coroutine[Any, Any, Any]],
        good: Callable[[Any], bool],
        condition: str,
        *,
        within: float = 30,
    ) -> Any:  # noqa: ANN401 - whatever `look` sees
        deadline = time.monotonic() + within
        while not good(seen := await look()):
            if time.monotonic() > deadline:
                raise WaitTimeout(condition, within, f"{seen}\n  containers: {await self.containers()}")
            await asyncio.sleep(0.02)
        return seen

    async def containers(self) -> dict[str, Details]:
        """The device's containers by deployment."""
        engine = Engine(self.root / "run/docker.sock")
        try:
            found = await engine.containers(f"{DEVICE_LABEL}={self.device}")
        finally:
            await engine.close()
        labelled = [(one.config.labels or {}, one) for one in found]
        return {labels[DEPLOYMENT_LABEL]: one for labels, one in labelled if DEPLOYMENT_LABEL in labels}

    async def without_container(self, name: str) -> None:
        async def look() -> list[str]:
            return list(await self.containers())

        await self.eventually(look, lambda names: name not in names, f"{name} has no container")

    async def logged(self, event: str, why: str = "") -> None:
        """Wait until the agent has logged this, with `why` in its reason."""

        async def look() -> list[Any]:
            return [line for line in self.logs if line["event"] == event and why in str(line.get("why", "")).lower()]

        await self.eventually(look, bool, f"logged: {event} {why}")

    async def kick(self) -> None:
        """Drop the device's session, as the operator does after a revocation."""
        system = await connect(self.nats.login(SYSTEM_USER), notice=lambda _: None)
        wanted = msgspec.json.encode({"acc": APP_ACCOUNT, "user": self.device, "auth": True, "state": 0}, enc_hook=str)
        answer = await system.client.request("$SYS.REQ.SERVER.PING.CONNZ", wanted, timeout=5)
        found = msgspec.json.decode(answer.data)
        for one in found["data"]["connections"]:
            kick = msgspec.json.encode({"cid": one["cid"]})
            await system.client.request(f"$SYS.REQ.SERVER.{found['server']['id']}.KICK", kick, timeout=5)
        await system.close()

    def plant(self, **fault: str | int) -> None:
        self.raw.call("POST", "/_double/faults", json=fault)

    def heal(self) -> None:
        self.raw.call("DELETE", "/_double/faults")

    def close(self) -> None:
        self.heal()
        query = {"all": "1", "filters": msgspec.json.encode({"label": [f"{DEVICE_LABEL}={self.device}"]}).decode()}
        for one in self.raw.call("GET", "/containers/json", params=query).json():
            self.raw.call("DELETE", f"/containers/{one['Id']}", params={"force": "1"})
        self.raw.close()
