"""When was a line of a log written, and what does it say? One reader for each format that our parts write.

Formats: JSON lines (ours: `timestamp`, `event`; etcd's zap: `ts`, `msg`), klog (the API server), nats-server, and an
ISO 8601 time in front (Python's logging, dockerd's `time="..."`). Everything else belongs to the line before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec


@dataclass(frozen=True)
class Line:
    """One event of a log. `at` is Unix time in seconds by the clock of the machine that wrote it."""

    at: float
    level: str
    text: str


def parse(line: str, now: datetime) -> Line | None:
    """Read one line; None when it carries no time of its own.

    Args:
        line: As written.
        now: Any aware time near the line's, which tells the year and the time zone where the format leaves them out.
    """
    for read in _READERS:
        found = read(line, now)
        if found is not None:
            return found
    return None


_LEVELS = {
    "I": "info",
    "W": "warning",
    "E": "error",
    "F": "fatal",
    "INF": "info",
    "WRN": "warning",
    "ERR": "error",
    "FTL": "fatal",
    "DBG": "debug",
    "TRC": "trace",
}
_KLOG = re.compile(r"([IWEF])(\d{2})(\d{2}) (\d{2}:\d{2}:\d{2}\.\d{6})\s+\d+ (\S+)\] (.*)", re.DOTALL)
_NATS = re.compile(r"\[\d+\] (\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2}\.\d{6}) \[(\w{3})\] (.*)", re.DOTALL)
_ISO = re.compile(
    r'(?:time=")?(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?)"?[\s-]*(?:level=)?'
    r"(?:\[?(debug|info|warning|warn|error|critical|fatal)\b\]?)?[\s:-]*(.*)",
    re.DOTALL | re.IGNORECASE,
)
_TIME_KEYS = ("timestamp", "ts", "time")
_TEXT_KEYS = ("event", "msg", "message")
_SAID_ELSEWHERE = {*_TIME_KEYS, *_TEXT_KEYS, "level", "part", "caller", "logger"}


def _json(line: str, now: datetime) -> Line | None:
    if not line.startswith("{"):
        return None
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    at = next((_moment(fields[key], now) for key in _TIME_KEYS if key in fields), None)
    if at is None:
        return None
    text = next((str(fields[key]) for key in _TEXT_KEYS if key in fields), "")
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if key not in _SAID_ELSEWHERE)
    return Line(at, str(fields.get("level", "")).lower(), f"{text} {rest}".strip())


def _moment(value: object, now: datetime) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    return _iso_time(value, now) if isinstance(value, str) else None


def _iso_time(text: str, now: datetime) -> float | None:
    try:
        found = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=now.tzinfo)).timestamp()


def _klog(line: str, now: datetime) -> Line | None:
    found = _KLOG.fullmatch(line)
    if found is None:
        return None
    level, month, day, clock, where, text = found.groups()
    at = datetime.strptime(f"{now.year}-{month}-{day} {clock}", "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=now.tzinfo)
    if at - now > timedelta(days=180):  # written before new year, read after
        at = at.replace(year=now.year - 1)
    return Line(at.timestamp(), _LEVELS[level], f"{text} ({where})")


def _nats(line: str, now: datetime) -> Line | None:
    found = _NATS.fullmatch(line)
    if found is None:
        return None
    clock, level, text = found.groups()
    at = datetime.strptime(clock, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=now.tzinfo)
    return Line(at.timestamp(), _LEVELS.get(level, level.lower()), text)


def _iso(line: str, now: datetime) -> Line | None:
    found = _ISO.fullmatch(line)
    if found is None:
        return None
    at = _iso_time(found.group(1), now)
    return None if at is None else Line(at, (found.group(2) or "").lower(), found.group(3))


_READERS: tuple[Callable[[str, datetime], Line | None], ...] = (_json, _klog, _nats, _iso)
