"""Every format that our parts write finds its place on one clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from harness.processes.spec import Event
from harness.scenario.step_log import StepRecord
from reports.lines import Line, parse
from reports.timeline import Entry, merge, of_events, of_log, of_steps, render, tail

NOW = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)
AT = datetime(2026, 11, 23, 21, 20, 1, 500000, tzinfo=UTC).timestamp()

OURS = (
    '{"part": "callout", "device": "pi-1", "event": "denied", "level": "warning",'
    ' "timestamp": "2026-11-23T21:20:01.500000Z"}'
)
ETCD = (
    '{"level":"info","ts":"2026-11-23T22:20:01.500000+0100","caller":"etcdserver/server.go:1","msg":"ready","member":1}'
)
KLOG = "W1123 21:20:01.500000   12345 reflector.go:547] watch closed"
NATS = "[4711] 2026/11/23 21:20:01.500000 [ERR] 127.0.0.1:5 - cid:9 - Authorization Violation"
PYTHON = "2026-11-23 21:20:01,500 ERROR uvicorn: cannot listen"
DOCKER = 'time="2026-11-23T21:20:01.500000000Z" level=warning msg="no swap"'


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        (OURS, "warning", "denied device=pi-1"),
        (ETCD, "info", "ready member=1"),
        (KLOG, "warning", "watch closed (reflector.go:547)"),
        (NATS, "error", "127.0.0.1:5 - cid:9 - Authorization Violation"),
        (PYTHON, "error", "uvicorn: cannot listen"),
        (DOCKER, "warning", 'msg="no swap"'),
    ],
    ids=["ours", "etcd", "klog", "nats", "python", "docker"],
)
def test_each_format_is_read(line: str, level: str, text: str) -> None:
    assert parse(line, NOW) == Line(AT, level, text)


@pytest.mark.parametrize("line", ["", "Traceback (most recent call last):", "{", '{"a": 1}', "I1123 soon", "[1] x"])
def test_a_line_without_a_time_is_not_guessed(line: str) -> None:
    assert parse(line, NOW) is None


def test_formats_without_a_zone_are_in_local_time() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    for line in (KLOG, NATS, PYTHON):
        found = parse(line, local)
        assert found is not None
        assert found.at == AT - 7200


def test_klog_written_before_new_year_and_read_after() -> None:
    found = parse("I1231 23:59:59.000000 1 a.go:1] x", datetime(2027, 1, 1, tzinfo=UTC))
    assert found is not None
    assert datetime.fromtimestamp(found.at, UTC).year == 2026


def test_a_traceback_stays_with_its_line() -> None:
    entries = of_log("operator", f"{PYTHON}\nTraceback:\n  boom\n", now=NOW)
    assert [entry.text for entry in entries] == ["uvicorn: cannot listen", "  Traceback:", "    boom"]
    assert {entry.at for entry in entries} == {AT}


def test_a_device_whose_clock_is_off_is_put_in_its_place() -> None:
    years = 5 * 365 * 86400.0
    ahead = OURS.replace("2026-11-23", "2031-11-22")
    assert of_log("agent", ahead, offset=years, now=NOW)[0].at == AT


def test_merge_orders_sources_and_cuts_what_is_outside() -> None:
    merged = merge([[Entry(3, "b", "", "3"), Entry(9, "b", "", "9")], [Entry(1, "a", "", "1")]], since=1, until=5)
    assert [entry.text for entry in merged] == ["1", "3"]


def test_steps_and_kills_are_marks_among_the_lines() -> None:
    record = StepRecord("revoke", "Revoke it", 2, (), AT, 5.0, 0.5, "product", "embedded")
    events = [Event(0, 5.25, "asked to end (SIGKILL)", "nats", asked=True)]
    text = render(merge([of_steps([record]), of_events(events, AT - 5.0)], AT - 1, AT + 1))
    assert text.splitlines() == [
        "seconds since 2026-11-23T21:20:01.500+00:00",
        "    0.000  STEP            begins  revoke 2: Revoke it",
        "    0.250  WORLD           nats asked to end (SIGKILL) (asked)",
        "    0.500  STEP            product revoke 2: Revoke it",
    ]


def test_nothing_written_is_said() -> None:
    assert "no part wrote" in render([])


def test_the_tail_of_a_long_log_begins_with_a_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("first line\nsecond line\nthird\n")
    assert tail(log, longest=10) == "third\n"
    assert tail(log) == "first line\nsecond line\nthird\n"
