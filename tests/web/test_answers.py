"""A large answer is made and handed over in pieces: a browser that reads nothing keeps no more than one of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import msgspec
import pytest

from fleet.callout.keys import Keys
from fleet.callout.metrics import Metrics
from fleet.web.application import Application
from fleet.web.guard import PIECE
from fleet.web.streams import RowsFeed
from tests.support.tls import Tls
from tests.support.web import OFFLINE, device, web_page

_DEVICES = 1_000

Message = MutableMapping[str, Any]


def devices(number: int = _DEVICES, version: int = 1) -> list[bytes]:
    """Each in trouble, and for a reason and a site of its own, so that the first screen is long, too."""
    return [
        msgspec.json.encode(device(f"pi-{one:05}", OFFLINE, site=f"site-{one}-{'x' * 40}", version=version))
        for one in range(number)
    ]


def answered(tls: Tls, path: str, taken: Callable[[Application, Message], bool]) -> list[Message]:
    """What is handed over of an answer to somebody who is signed in, until `taken` says that nothing more is taken."""

    async def run() -> list[Message]:
        page = web_page(tls)
        app = Application(page, "here", Keys(page.issuer, page.issuer_ca, Metrics()))
        app.store.replace_objects("Device", devices())
        app.store.replace_objects("FleetDeployment", [])
        cookie, _ = app.sessions.begin("user-1", "", time.time() + 3600)
        sent: list[Message] = []
        stuck = asyncio.Event()

        async def send(message: Message) -> None:
            sent.append(message)
            if not taken(app, message):
                stuck.set()
                await asyncio.Event().wait()

        async def receive() -> Message:
            await stuck.wait()
            return {"type": "http.disconnect"}

        headers = [
            (b"host", b"localhost"),
            (b"cookie", f"{app.sessions.cookie}={cookie}".encode()),
            (b"accept", b"text/html"),
        ]
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
        scope |= {
            "headers": headers,
            "query_string": b"",
            "scheme": "https",
            "root_path": "",
            "http_version": "1.1",
            "state": {},
        }

        async def answer() -> None:
            await app.asgi(scope, receive, send)

        answering = asyncio.create_task(answer())
        await asyncio.wait({answering, asyncio.create_task(stuck.wait())}, return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        return sent

    return asyncio.run(asyncio.wait_for(run(), 60))


def body(messages: list[Message]) -> bytes:
    return b"".join(one.get("body", b"") for one in messages)


@pytest.mark.parametrize("path", ["/devices.json", "/", "/devices"])
def test_no_piece_is_larger_than_what_a_browser_may_leave_unread(tls: Tls, path: str) -> None:
    sent = answered(tls, path, lambda _, __: True)
    assert sent[0]["status"] == 200
    assert max(len(one.get("body", b"")) for one in sent) <= PIECE
    assert not sent[-1].get("more_body")
    if path == "/":
        assert len(body(sent)) > PIECE, "or this says nothing"
        assert body(sent).rstrip().endswith(b"</html>")
        assert int(dict(sent[0]["headers"])[b"content-length"]) == len(body(sent))


def test_the_list_of_devices_is_whole_and_made_as_it_is_taken(tls: Tls) -> None:
    parts: list[Message] = []

    def taken(app: Application, message: Message) -> bool:
        """After the third part all rows are others, and one device is gone."""
        parts.append(message)
        if len(parts) == 4:
            app.store.apply_change("Device", devices()[-1], deleted=True)
            for changed in devices(_DEVICES - 1, version=2):
                app.store.apply_change("Device", changed.replace(b"-xxxx", b"-yyyy"), deleted=False)
        return True

    shown = json.loads(body(answered(tls, "/devices.json", taken)))
    assert shown["complete"] is True
    assert [row[0] for row in shown["rows"]] == [f"pi-{number:05}" for number in range(_DEVICES - 1)]
    texts = [json.dumps(row) for row in shown["rows"]]
    assert "-xxxx" in texts[0]
    assert "-yyyy" in texts[-1], "a row that was not made yet is as it is now"


@pytest.mark.parametrize("path", ["/devices.json", "/events/devices"])
def test_of_an_answer_that_nobody_takes_only_the_beginning_is_made(tls: Tls, path: str) -> None:
    # The head, and what begins the answer or the stream; then a piece that is not taken.
    sent = answered(tls, path, lambda _, message: len(message.get("body", b"")) < 1_000)
    assert sent[0]["status"] == 200
    assert 1_000 < len(body(sent)) <= PIECE * 2


def test_a_stream_that_breaks_off_among_many_rows_gets_them_all_again(tls: Tls) -> None:
    page = web_page(tls)
    store = Application(page, "here", Keys(page.issuer, page.issuer_ca, Metrics())).store
    store.replace_objects("Device", devices())
    store.replace_objects("FleetDeployment", [])
    events = list(RowsFeed(store, 0).next_events())
    assert [one.number for one in events] == [0, 0, 0, 0, store.version]
    assert ["whole" in json.loads(one.data) for one in events] == [True, False, False, False, False]
    names = [row[0] for one in events for row in json.loads(one.data)["rows"]]
    assert sorted(names) == [f"pi-{number:05}" for number in range(_DEVICES)]
    (event,) = RowsFeed(store, store.version).next_events()
    assert event.number == store.version, "it says whether all are known"
