"""Thousands of devices in one process: what a fleet sends and hears, over one connection, without agents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from fleet.contract.buckets import DESIRED_INDEX, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE, Bucket
from fleet.contract.names import AgentVersion
from fleet.contract.states import gathered
from fleet.contract.wire import DesiredIndex, DeviceInfo, DeviceState, Heartbeat, Phase, Reason, T, decode, encode
from fleet.nats.bus import Bus
from fleet.nats.headers import Delivery

INTERVAL = 10.0
"""Seconds between two heartbeats of a device: the agent's default."""
INFO = DeviceInfo(AgentVersion("v0.1.0"), "aarch64", "Debian GNU/Linux 12", "6.1.0", 4 << 30, 32 << 30, "boot-1")
_AT_ONCE = 100
"""Messages that are sent before the loop sees to something else."""


class Crowd:
    """The devices. They answer nothing by themselves but the orders that `obey` tells them to."""

    def __init__(self, bus: Bus, names: Sequence[str]) -> None:
        """Silent, and deaf, until told otherwise. `bus` may write every key of the devices."""
        self._bus = bus
        self.names = names
        self._sequence = 0
        self._states: dict[str, dict[str, DeviceState]] = {}
        self.heard: dict[str, tuple[float, DesiredIndex]] = {}
        """The newest index of each device, and when it was heard, in monotonic seconds."""

    async def listen(self) -> None:
        """Hear every index from now on."""

        def heard(delivery: Delivery) -> None:
            if delivery.data is not None:
                device = delivery.subject.rpartition(b".")[2].decode()
                self.heard[device] = (time.monotonic(), decode(delivery.data, DesiredIndex))

        await self._bus.kv(DESIRED_INDEX).listen("*", heard)

    def told(self, device: str) -> Mapping[str, int]:
        """The deployments that a device was told to run, and the generation of each."""
        return self.heard[device][1].deployments if device in self.heard else {}

    async def appear(self) -> None:
        """Every device says what it is, and that it is alive, as fast as this process can send."""
        for number, name in enumerate(self.names):
            await self._say(DEVICE_INFO, name, msgspec.structs.replace(INFO, boot_id=f"boot-{name}"))
            await self._beat(name)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._bus.client.flush()

    async def beat(self, seconds: float = float("inf")) -> None:
        """Each device beats once in `INTERVAL`, spread evenly; for so long, or until cancelled."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            began = time.monotonic()
            for number, name in enumerate(self.names):
                due = began + INTERVAL * number / len(self.names)
                if due > (now := time.monotonic()):
                    await asyncio.sleep(due - now)
                await self._beat(name)
            await asyncio.sleep(max(0.0, began + INTERVAL - time.monotonic()))

    async def report(self, name: str, deployment: str, generation: int, phase: Phase = Phase.RUNNING) -> None:
        """A device tells what it made of a deployment."""
        reason = Reason.STARTED if phase is Phase.RUNNING else Reason.EXITED
        states = self._states.setdefault(name, {})
        states[deployment] = DeviceState(generation, phase, reason)
        await self._say(DEVICE_STATE, name, gathered(states))

    async def _beat(self, name: str) -> None:
        self._sequence += 1
        beat = Heartbeat(INFO.agent_version, f"instance-{name}", f"boot-{name}", self._sequence, INTERVAL)
        await self._say(DEVICE_HEARTBEAT, name, beat)

    async def _say(self, bucket: Bucket[T], key: str, value: T) -> None:
        await self._bus.client.publish(bucket.subject(key), encode(value))

    async def flush(self) -> None:
        """Wait until the server has everything."""
        await self._bus.client.flush()
