"""However often somebody outside repeats what is logged, the log stays short, and says how much it left out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from structlog.testing import capture_logs

import fleet.nats.bus
from fleet.operator.metrics import Metrics
from fleet.operator.sessions import Sessions
from fleet.operator.skipped_keys import SkippedKeys
from fleet.process.log_budget import KIND, MOST, WINDOW, LineBudget, Sampler
from fleet.process.logs import Forward


def test_the_first_of_a_window_are_told_and_the_next_window_says_how_many_were_not() -> None:
    sampler = Sampler()
    assert [sampler.take("a", 5.0) for _ in range(MOST)] == [0] * MOST
    assert [sampler.take("a", 6.0) for _ in range(7)] == [None] * 7
    assert sampler.take("b", 6.0) == 0, "another kind has a window of its own"
    assert sampler.take("a", 5.0 + WINDOW) == 7
    assert sampler.take("a", 5.0 + WINDOW) == 0


def test_a_log_has_few_lines_of_a_kind_and_of_all_and_the_next_line_counts_the_rest() -> None:
    clock = [5.0]
    budget = LineBudget(lambda: clock[0])

    def told(event: str, number: int, **fields: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        found: list[dict[str, Any]] = []
        for _ in range(number):
            with contextlib.suppress(structlog.DropEvent):
                found.append(dict(budget(None, "info", {"event": event, **fields})))
        return found

    assert told("a", 50) == [{"event": "a"}] * 20
    assert told("b", 2) == [{"event": "b", "left_out": 30}, {"event": "b"}]
    assert len(told("one text", 15, **{KIND: 1}) + told("another", 15, **{KIND: 1})) == 20, "the kind is what counts"
    assert sum(len(told(f"kind {number}", 1)) for number in range(1_000)) == 300 - 42
    clock[0] += WINDOW
    assert told("a", 1) == [{"event": "a", "left_out": 1_000 - 258}]


@pytest.fixture
def every_level() -> Iterator[None]:
    """A part of the server that ran in this process may have left a configuration that drops what is fine."""
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("every_level")
def test_what_a_library_logs_is_logged_as_ours_whatever_it_is() -> None:
    library = logging.Logger("a library")
    library.addHandler(Forward())
    with capture_logs() as told:
        library.warning("100%% of %s, {x}", "it")
        library.log(35, "100%")
        library.error("%d connections", "no")
        library.log(1, "too fine")
    assert [(one["log_level"], one["event"], one["library"]) for one in told] == [
        ("warning", "100% of it, {x}", "a library"),
        ("warning", "100%", "a library"),
        ("error", "%d connections", "a library"),
        ("debug", "too fine", "a library"),
    ]
    assert len({one[KIND] for one in told}) == 4, "each place is a kind"


def test_kinds_without_end_are_not_kept_for_ever() -> None:
    sampler = Sampler()
    told = [sampler.take(number, 0.0) for number in range(50_000)]
    assert told == [0] * 50_000


def test_a_device_that_is_strange_in_another_way_each_time_does_not_fill_the_log() -> None:
    metrics = Metrics()
    skipped = SkippedKeys(metrics)
    with capture_logs() as logs:
        for number in range(5_000):
            skipped.note("device-info", "pi-3", f"'v{number}' is not a valid agent version")
    assert len(logs) == MOST
    assert metrics.registry.get_sample_value("fleet_operator_skipped_keys_total", {"place": "device-info"}) == 5_000


class Bus:
    """Stands for the connection to the system account: whoever subscribes is called by the test."""

    def __init__(self) -> None:
        self.client = self
        self.taken: dict[str, Any] = {}

    async def subscribe(self, subject: str, *, cb: object) -> None:
        self.taken[subject] = cb

    async def publish(self, subject: str, data: bytes, *, reply: str) -> None:
        """A kick, which nobody answers."""

    def new_inbox(self) -> str:
        return "_INBOX.x"


def test_a_device_that_begins_sessions_without_end_does_not_fill_the_log() -> None:
    bus = Bus()
    sessions = Sessions(cast("fleet.nats.bus.Bus", bus), lambda: None, lambda _: None)

    async def run() -> None:
        await sessions.guard(lambda device: device == "pi-4", lambda _: None)
        (began,) = (taken for subject, taken in bus.taken.items() if subject.endswith(".CONNECT"))
        for cid in range(3_000):
            for device in ("pi-3", "pi-4"):
                event = {"server": {"id": "S"}, "client": {"id": cid, "user": device}}
                await began(Msg(cast("Client", None), data=json.dumps(event).encode()))

    with capture_logs() as logs:
        asyncio.run(run())
    assert len(logs) == 2 * MOST
