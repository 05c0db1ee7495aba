"""`python -m fleet.web`: started by the operator, which says how to begin in `fleet.web.messages`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import msgspec
import structlog

from fleet.contract.errors import FleetError
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.contract.wire import decode
from fleet.process import logs
from fleet.process.log_budget import LineBudget
from fleet.process.umask import tighten
from fleet.web.messages import ApiToken, EventMessage, OperatorHeartbeat, RevisionsMessage, Start
from fleet.web.service import Service

log = structlog.get_logger()

NICE = 19
"""The lowest priority: what the operator decides goes before what people look at (measured: `docs/web.md`)."""
_LONGEST_LINE = 1024 * 1024
_TURNS = 4
"""Turns of the loop in which a transport of TLS, and the socket below it, end."""


def main() -> None:
    """Serve until the input ends, SIGTERM or SIGINT."""
    tighten()
    logs.configure("web", budget=LineBudget())
    os.nice(NICE)
    try:
        asyncio.run(_run())
    except FleetError as error:
        log.error("the page ends", why=error.what, next_step=error.next_step)  # noqa: TRY400 - it was foreseen
        sys.exit(error.exit_code)
    except Exception:
        log.exception("the page ends")
        sys.exit(1)
    log.info("the page ends")


async def _run() -> None:
    lines = asyncio.StreamReader(limit=_LONGEST_LINE)
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    with contextlib.closing(pipe):
        service = Service(decode(await lines.readline(), Start))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop.set)
        reading = asyncio.create_task(_read(lines, service))
        try:
            await service.run()
        finally:
            reading.cancel()
            await _end_the_rest()


async def _end_the_rest() -> None:
    """End tasks that nobody waits for, and let transports close: a loop that ends at once leaves sockets open."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def _read(lines: asyncio.StreamReader, service: Service) -> None:
    """Take tokens, signs of life, events, and revisions; the end of the input is the end of the operator.

    If the input cannot be read any more, the page ends too, and is started again: it would show what is over.
    """
    try:
        while await _process(lines, service):
            pass
    finally:
        service.stop.set()


async def _process(lines: asyncio.StreamReader, service: Service) -> bool:
    """Take one line; whether there may be another one."""
    try:
        line = await lines.readline()
    except ValueError as error:  # what is left of it is read as lines that are no messages
        log.warning("a message of the operator is too long", why=str(error))
        return True
    if not line:
        return False
    try:
        message = msgspec.json.decode(line, type=ApiToken | OperatorHeartbeat | EventMessage | RevisionsMessage)
    except NOT_JSON as error:
        log.warning("the operator said something else", why=validation_words(error))
        return True
    if isinstance(message, OperatorHeartbeat):
        service.operator.told(message)
    service.operator.received()
    if isinstance(message, ApiToken):
        service.token = message.text
    elif isinstance(message, RevisionsMessage):
        service.store.set_revisions(message)
    elif isinstance(message, EventMessage):
        service.store.add_event(message)
    return True


if __name__ == "__main__":
    main()
