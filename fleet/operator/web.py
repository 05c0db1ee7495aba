"""The web page's process: started, given a token of its own, and started again when it ends.

It is another process, with a lower priority, so that nothing that people look at delays a reconcile; and it acts as an
account that may only look. It gets its settings, and each token, on its standard input: no file and no argument
holds either, and when the operator is gone, the page is, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import structlog

from fleet.contract.config import OperatorConfig, WebPage
from fleet.contract.errors import FleetError
from fleet.contract.objects import WEB_ACCOUNT
from fleet.contract.revision import Revision
from fleet.contract.wire import encode
from fleet.kube.kubeconfig import Access
from fleet.operator.callouts import Callouts
from fleet.operator.kube import KubeApi, Times
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Kind, Note
from fleet.operator.revision_summaries import revision_summaries
from fleet.process.backoff import Backoff
from fleet.web.messages import HEARTBEAT_INTERVAL, ApiToken, EventMessage, OperatorHeartbeat, RevisionsMessage, Start

log = structlog.get_logger()

_TOKEN_LASTS = 3600
"""Seconds. Kubernetes gives none for less than ten minutes."""
_RENEWED_AFTER = 0.7
"""The part of its time after which a token is replaced."""
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_ENDS_WITHIN = 5.0
_SUBJECT = "web page"
_EVENTS = 1_000
"""The newest Events, of which a page hears when it is started again, and when it reads again after a pause."""


class WebProcess:
    """Keeps one page running."""

    def __init__(
        self,
        config: OperatorConfig,
        page: WebPage,
        read: Callable[[], Access],
        api: KubeApi,
        readiness: Readiness,
        callouts: Callouts,
    ) -> None:
        """Starts nothing yet. `read` returns the connection parameters of the API server."""
        self._config = config
        self._page = page
        self._read = read
        self._api = api
        self._readiness = readiness
        self._callouts = callouts
        self._events: deque[bytes] = deque(maxlen=_EVENTS)
        self._revisions: dict[str, bytes] = {}
        self._new_events: deque[bytes] = deque(maxlen=_EVENTS)
        self._new_revisions: dict[str, bytes] = {}
        self._news = asyncio.Event()

    def tell(self, kind: Kind, name: str, note: Note, times: Times) -> None:
        """Let the page know of an Event that Kubernetes has taken; it cannot read them there. It never waits."""
        line = encode(EventMessage(kind, name, note.type, note.reason, note.message, times.last, times.count)) + b"\n"
        self._events.append(line)
        self._new_events.append(line)
        self._news.set()

    def tell_revisions(self, deployment: str, kept: Sequence[Revision]) -> None:
        """Let the page know which revisions of a deployment are kept, without what can hold a secret."""
        line = encode(RevisionsMessage(deployment, revision_summaries(kept))) + b"\n"
        if kept:
            self._revisions[deployment] = line
        else:
            self._revisions.pop(deployment, None)
        self._new_revisions[deployment] = line
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled. If the page is not running, this is reported, and the operator stays ready."""
        backoff = Backoff(_PAUSE, _LONGEST_PAUSE)
        while True:
            began = time.monotonic()
            try:
                code = await self._once()
                why = f"it ended with code {code}, and is started again"
            except FleetError as error:
                why = error.what
            self._readiness.remark(_SUBJECT, why)
            if time.monotonic() - began > _LONGEST_PAUSE:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _once(self) -> int:
        """One life of the process; returns how it ended."""
        token = await self._token()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fleet.web", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            access = self._read()
            await _say(process, Start(
                page=self._page,
                namespace=self._config.namespace,
                nats_url=self._config.nats_url,
                ca=self._config.ca,
                api_url=access.url,
                api_ca=access.ca,
                secret_ages=self._config.secret_ages,
            ))  # fmt: skip
            await _say(process, ApiToken(token))
            self._new_events, self._new_revisions = self._events.copy(), self._revisions.copy()
            self._news.set()
            self._readiness.settled(_SUBJECT)
            work = (
                asyncio.create_task(self._renew(process), name="token of the web page"),
                asyncio.create_task(self._hand_on(process), name="news for the web page"),
                asyncio.create_task(self._live(process), name="signs of life for the web page"),
            )
            try:
                return await process.wait()
            finally:
                for task in work:
                    task.cancel()
                await asyncio.gather(*work, return_exceptions=True)
        finally:
            await _end(process)

    async def _hand_on(self, process: asyncio.subprocess.Process) -> None:
        """Tell the page what is new whenever it has read what came before.

        Meanwhile the newest Events wait, and the newest revisions of each deployment: a page that does not read for a
        while costs no more memory than that, and knows what counts when it reads again.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            lines = [*self._new_events, *self._new_revisions.values()]
            self._new_events.clear()
            self._new_revisions.clear()
            await _write(process, b"".join(lines))

    async def _renew(self, process: asyncio.subprocess.Process) -> None:
        backoff = Backoff(_PAUSE, _LONGEST_PAUSE)
        pause = _TOKEN_LASTS * _RENEWED_AFTER
        while True:
            await asyncio.sleep(pause)
            try:
                await _say(process, ApiToken(await self._token()))
                pause = _TOKEN_LASTS * _RENEWED_AFTER
                backoff.reset()
                self._readiness.settled(_SUBJECT)
            except FleetError as error:
                self._readiness.remark(_SUBJECT, error.what)
                pause = backoff.next()

    async def _live(self, process: asyncio.subprocess.Process) -> None:
        """Let the page know that this process works, and which part is not ready, until cancelled."""
        while True:
            callout = await self._callouts.state()
            await _say(process, OperatorHeartbeat(self._readiness.reason(), callout))
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    async def _token(self) -> str:
        return await self._api.token(WEB_ACCOUNT, _TOKEN_LASTS)


async def _say(process: asyncio.subprocess.Process, line: msgspec.Struct) -> None:
    """Write a line."""
    await _write(process, encode(line) + b"\n")


async def _write(process: asyncio.subprocess.Process, data: bytes) -> None:
    """Write until it is read. A process that has ended does not hear it, and its end is seen elsewhere."""
    if process.stdin is not None:
        process.stdin.write(data)
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process by closing its input; kill it if it does not end."""
    if process.returncode is not None:
        return
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_ENDS_WITHIN):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
