"""A proxy between a browser and the page: it ends TLS, as one does that people put there, and treats streams badly."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.support.tls import Tls


class Proxy:
    """Listens in a thread of its own until `close`. It hands on each connection by itself.

    Attributes:
        url: Where a browser finds the page.
        cut: Seconds after which a stream is cut, whatever goes on; 0 for never.
        holds: Whether what the page says in a stream is held back for ever; other answers pass.
        begun: Heads of the requests for streams that passed.
    """

    def __init__(self, page: str, tls: Tls) -> None:
        self._page = urlsplit(page)
        self._tls = tls
        self.cut, self.holds = 0.0, False
        self.begun: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)
        self.url = f"https://localhost:{self._server.sockets[0].getsockname()[1]}"
        self._open: set[asyncio.Task[None]] = set()

    async def _listen(self) -> asyncio.Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._tls.cert_file, self._tls.key_file)
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            async with asyncio.timeout(None) as limit:
                await self._hand_on(reader, writer, limit)
        except (TimeoutError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _hand_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: asyncio.Timeout
    ) -> None:
        context = ssl.create_default_context(cadata=self._tls.ca)
        there, back = await asyncio.open_connection("localhost", self._page.port, ssl=context)
        streams = False

        def asked(data: bytes) -> bool:
            nonlocal streams
            if data.startswith(b"GET /events/"):
                streams = True
                limit.reschedule(self._loop.time() + self.cut if self.cut else None)
                self.begun.append(data.decode("ascii", "replace").lower())
            return True

        try:
            both = (_pump(reader, back, asked), _pump(there, writer, lambda _: not (streams and self.holds)))
            done, left = await asyncio.wait([*map(asyncio.ensure_future, both)], return_when=asyncio.FIRST_COMPLETED)
            for one in left:
                one.cancel()
            await asyncio.gather(*done, *left, return_exceptions=True)
        finally:
            back.transport.abort()

    def close(self) -> None:
        """End every connection."""

        async def end() -> None:
            self._server.close()
            for task in tuple(self._open):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*self._open, return_exceptions=True)
            await asyncio.sleep(0.05)  # a transport ends in the loop's next turns

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, passes: Callable[[bytes], bool]) -> None:
    while data := await source.read(65536):
        if passes(data):
            sink.write(data)
            await sink.drain()
