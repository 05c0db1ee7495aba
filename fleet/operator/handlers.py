"""kopf's part: watches on `Device` and `FleetDeployment`, and nothing but to hand on what they tell.

kopf runs in a thread and an event loop of its own: it takes over signals in the main thread, and its end cancels
every task of its loop. No index, no finalizer, no annotation of kopf's is used (see the conventions'
measurements): lists, finalizers and status are ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any, cast

import kopf
import msgspec
import structlog
from kopf._cogs.structs.credentials import Vault
from kopf._cogs.structs.references import Insights

from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP, VERSION
from fleet.kubeconfig import Access
from fleet.operator.reconcile.actions import Kind

log = structlog.get_logger()

Told = Callable[[Kind, bytes, bool], None]
"""Takes an object as a watch tells it, as JSON, and whether it was deleted."""
Ended = Callable[[str], None]
"""Takes the reason for which watching ended."""

_SERVER_TIMEOUT = 300
_CLIENT_TIMEOUT = 330
"""Seconds of one watch request: without them, a connection that died silently is never noticed."""
_BACKOFFS = (0.1, 0.3, 0.6)
"""Seconds between attempts while the API server is away, and before a refusal ends the watcher."""
PROVEN = 2 * sum(_BACKOFFS)
"""Seconds after which a watcher that has not ended works."""
_GOODBYE = 0.05
"""Seconds for connections that kopf closed to end: a loop that ends at once leaves them open."""
_AGAIN = 0.1
"""Seconds until what is to end, and has not, is cancelled again."""
_JOIN = 2.0


class Watcher:
    """Watches one namespace until it is stopped or fails; then a new one is made."""

    def __init__(self, read: Callable[[], Access], namespace: str, told: Told, ended: Ended) -> None:
        """`told` and `ended` are called in the event loop that makes the watcher."""
        self._loop = asyncio.get_running_loop()
        self._read = read
        self._namespace = namespace
        self._told = told
        self._ended = ended
        self._stopping = False
        self._end: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        """Begin watching."""
        self._thread.start()

    async def stop(self) -> None:
        """End it, and wait a little until it has ended: it holds nothing that matters."""
        self._stopping = True
        if self._end is not None:
            self._end()
        await asyncio.to_thread(self._thread.join, _JOIN)

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except Exception as error:
            self._say_ended(repr(error))

    async def _watch(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._end = lambda: _unless_closed(loop, stop.set)
        if self._stopping:
            return
        insights, vault = Insights(), Vault()
        check = asyncio.create_task(self._check(insights), name="check")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        tasks = await kopf.spawn_tasks(
            registry=_registry(self._read, self._tell),
            settings=_settings(),
            namespaces=[self._namespace],
            standalone=True,
            identity=cast("Any", "fleet-operator"),
            insights=insights,
            vault=vault,
        )
        ended, _ = await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
        self._say_ended(_reason(ended.pop()))
        loop.set_exception_handler(lambda _loop, _context: None)
        check.cancel()
        await _end_others()
        await vault.close()  # kopf does it too, and what still went on may have opened a session since
        await asyncio.sleep(_GOODBYE)

    def _say_ended(self, why: str) -> None:
        if not self._stopping:
            self._loop.call_soon_threadsafe(self._ended, why)

    async def _check(self, insights: Insights) -> None:
        """End unless kopf found both kinds: it looks once, and what is not there then it never watches.

        Objects of a new kind can be listed some time before Kubernetes tells of the kind.
        """
        await insights.ready_resources.wait()
        missing = {DEVICES, DEPLOYMENTS} - {resource.plural for resource in insights.watched_resources}
        if missing:
            self._say_ended(f"Kubernetes does not tell of {' and '.join(sorted(missing))} yet")

    def _tell(self, kind: Kind, data: bytes, deleted: bool) -> None:
        self._loop.call_soon_threadsafe(self._told, kind, data, deleted)


def _reason(ended: asyncio.Task[Any]) -> str:
    error = None if ended.cancelled() else ended.exception()
    if error is None:
        return f"kopf's {ended.get_name()} ended"
    return str(error.args[0]) if error.args else type(error).__name__


async def _end_others() -> None:
    """Cancel every other task of the loop until all have ended.

    Once is not enough, and kopf's own ending waits for ever then: a watch that waits for an answer takes the end of the
    task that it would be paused by for a pause, and its own cancellation with it (kopf._cogs.clients.api.stream).
    """
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        ended, _ = await asyncio.wait(others, timeout=_AGAIN)
        await asyncio.gather(*ended, return_exceptions=True)


def _unless_closed(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    # It may close between any check and the call.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


def _registry(read: Callable[[], Access], told: Told) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: object) -> kopf.ConnectionInfo:
        credentials = read()
        return kopf.ConnectionInfo(server=credentials.url, ca_data=credentials.ca or None, token=credentials.bearer())

    @kopf.on.event(GROUP, VERSION, DEVICES, registry=registry)
    async def device(event: Any, **_: object) -> None:  # noqa: ANN401 - kopf hands on what Kubernetes sent
        told("Device", msgspec.json.encode(event["object"]), event["type"] == "DELETED")

    @kopf.on.event(GROUP, VERSION, DEPLOYMENTS, registry=registry)
    async def deployment(event: Any, **_: object) -> None:  # noqa: ANN401
        told("FleetDeployment", msgspec.json.encode(event["object"]), event["type"] == "DELETED")

    return registry


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.watching.server_timeout = _SERVER_TIMEOUT
    settings.watching.client_timeout = _CLIENT_TIMEOUT
    settings.networking.error_backoffs = _BACKOFFS
    settings.posting.enabled = False
    settings.queueing.exit_timeout = 0.1
    settings.process.ultimate_exiting_timeout = None
    settings.scanning.disabled = True
    return settings


class _Quietly(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.warning("said below us", logger_name=record.name, said=record.getMessage().partition("\n")[0])


def quiet_kopf() -> None:
    """Send kopf's warnings through our log, without tracebacks and without those that we tell ourselves."""
    # asyncio tells of tasks that kopf abandons, and warns of TLS streams that end as they may.
    for name, level in (("kopf", logging.WARNING), ("asyncio", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers = [_Quietly(level)]
        logger.setLevel(level)
        logger.propagate = False
    # A failed request comes back as the reason for which watching ended; signals are not kopf's here.
    for told_otherwise in ("kopf._cogs.clients", "kopf._core.reactor.running"):
        logging.getLogger(told_otherwise).setLevel(logging.CRITICAL)
