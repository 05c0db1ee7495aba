"""A real nats-server, a real callout, two enrolled devices and what the operator stored for them."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import nats
from nats.aio.client import Client

from fleet.contract.buckets import (
    APP_BUCKETS,
    APP_USER,
    DESIRED_STATE,
    DEVICE_STATE,
    Bucket,
    chunk_subject,
    manifest_subject,
)
from fleet.contract.names import DeviceId
from fleet.contract.permissions import inbox_prefix
from fleet.nats.bus import connect
from tests.support.callout import active, answering, callout_config, identities
from tests.support.issuer import Issuer
from tests.support.nats import Nats
from tests.support.tls import Tls
from tests.support.waiting import eventually

R = TypeVar("R")
Stored = dict[str, tuple[int, bytes]]

ME, OTHER = "pi-1", "pi-2"
AGENT, DIGEST = b"an agent", "sha256:" + "0" * 64
SECRET = b'{"only for":"pi-2"}'


def key(bucket: Bucket[Any], device: str) -> str:
    """A key of `device`: desired state has one for each deployment."""
    return f"{device}.web" if bucket == DESIRED_STATE else device


class Stage:
    """Runs in a thread of its own, so that tests stay plain functions."""

    def __init__(self, root: Path, tls: Tls) -> None:
        self.nats = Nats(root, tls)
        self.issuer = Issuer(tls)
        self.errors: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._open = AsyncExitStack()
        self._thread.start()

    def play(self, scene: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(scene, self._loop).result(30)

    def start(self) -> None:
        self.nats.start()
        self.play(self._start())

    def stop(self) -> None:
        self.play(self._open.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.issuer.stop()
        self.nats.stop()

    async def _start(self) -> None:
        registry = await self._open.enter_async_context(identities(self.nats))
        await registry.put("1", active(ME))
        await registry.put("2", active(OTHER))
        self.operator = await connect(self.nats.login(APP_USER), notice=lambda _: None, attempts=1)
        self._open.push_async_callback(self.operator.close)
        await self.operator.ensure(*APP_BUCKETS)
        await self.operator.ensure_blobs()
        for subject in (manifest_subject("v0.1.0"), chunk_subject(DIGEST, 0)):
            await self.operator.blobs().put(subject, AGENT)
        for bucket in APP_BUCKETS:
            for device in (ME, OTHER):
                data = SECRET if device == OTHER else b'{"only for":"pi-1"}'
                await self.operator.client.jetstream().publish(bucket.subject(key(bucket, device)), data)
        await self._open.enter_async_context(answering(callout_config(self.nats, self.issuer)))
        self.device = await self.log_in(ME, "1")
        self._open.push_async_callback(self.device.close)

    async def log_in(self, device: str, subject: str) -> Client:
        async def failed(error: Exception) -> None:
            self.errors.append(str(error))

        return await nats.connect(
            self.nats.url,
            token=self.issuer.token(subject),
            inbox_prefix=inbox_prefix(DeviceId(device)),
            tls=self._trust(),
            error_cb=failed,
            allow_reconnect=False,
        )

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.nats.tls.ca)

    async def refused(self, subject: str, verb: str) -> None:
        """Wait until the server has said no to the last operation."""
        wanted = f'permissions violation for {verb} to "{subject.lower()}"'
        await eventually(lambda: any(wanted in error for error in self.errors), f"{verb} of {subject} is refused")

    async def others(self) -> Stored:
        """What is stored for everybody but the device that plays, and how each stream is made."""
        found: Stored = {}
        js = self.operator.client.jetstream()
        for info in await js.streams_info():
            assert info.config.name
            made = repr((info.config, info.state.consumer_count)).encode()
            found[info.config.name] = (0, made)
            subjects = (await js.stream_info(info.config.name, subjects_filter=">")).state.subjects or {}
            for subject in subjects:
                if ME not in subject.split("."):
                    message = await js.get_last_msg(info.config.name, subject, direct=True)
                    found[subject] = (message.seq or 0, message.data or b"")
        return found

    async def settled(self) -> None:
        """Everything the device sent is through: its own acknowledged write came after it (a flush proves nothing)."""
        subject = DEVICE_STATE.subject(key(DEVICE_STATE, ME))
        await self.device.request(subject, b"{}", timeout=5)
        await self.operator.client.flush()
