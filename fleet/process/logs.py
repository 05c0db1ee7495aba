"""One JSON line per event on standard error, the same in every part, so that a timeline can be made of them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from fleet.contract.printable import each, lines, one_line
from fleet.process.log_budget import KIND, LineBudget

_SECRET_WORDS = ("token", "password", "passwd", "secret", "seed", "assertion", "authorization", "private")
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_LONGEST = 4_000
"""Characters of a value where lines are counted; of a longer one its end is kept, where a traceback says what it is."""


def configure(
    part: str,
    *,
    level: int = logging.INFO,
    also: Callable[[str], None] | None = None,
    budget: LineBudget | None = None,
) -> None:
    """Log as `part` from here on: `timestamp` (ISO 8601, UTC), `level`, `part`, `event`, and what the event names.

    Every line is given to `also`, too. With a `budget` there is a bound on the number of lines and their length, and
    what libraries log is JSON, too.
    """

    def rendered(event: object, **rest: Any) -> str:  # noqa: ANN401 - as `json.dumps` has it
        line = json.dumps(event, **rest)
        if also is not None:
            also(line)
        return line

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *((budget,) if budget else ()),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *((shorten,) if budget else ()),
            hide_secrets,
            escape,
            structlog.processors.JSONRenderer(rendered),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Standard error as it is when the line is written: a program that configures itself twice, or under a test
        # that captures its output, must not write to a file that is closed by then.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(part=part)
    # It warns, in words of its own, of every NATS stream over TLS that ends.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    if budget:
        logging.getLogger().handlers = [Forward()]


class Forward(logging.Handler):
    """Logs as ours what a library logs. The place that logs it is its kind, because a message may hold anything."""

    def emit(self, record: logging.LogRecord) -> None:
        """Never raise: the library would get the error."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a message that does not fit what goes into it
            text = str(record.msg)
        level = max(known for known in _LEVELS if known <= max(record.levelno, logging.DEBUG))
        kind = (record.name, record.pathname, record.lineno)
        structlog.get_logger().log(level, text, exc_info=record.exc_info, library=record.name, **{KIND: kind})


def shorten(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut what is long."""
    return {
        key: f"… {value[-_LONGEST:]}" if isinstance(value, str) and len(value) > _LONGEST else value
        for key, value in event.items()
    }


def escape(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what comes from outside, for those to whom a tool shows a field as it was."""
    return {one_line(key): each(value, lines if key == "exception" else one_line) for key, value in event.items()}


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field whose name says that it is a secret."""
    return {
        key: "[REDACTED]" if any(word in key.lower() for word in _SECRET_WORDS) else value
        for key, value in event.items()
    }
