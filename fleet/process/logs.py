"""One JSON line per event on standard error, the same in every part, so that a timeline can be made of them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from fleet.contract.printable import each, lines, one_line

_SECRET_WORDS = ("token", "password", "passwd", "secret", "seed", "assertion", "authorization", "private")


def configure(part: str, *, level: int = logging.INFO, also: Callable[[str], None] | None = None) -> None:
    """Log as `part` from here on: `timestamp` (ISO 8601, UTC), `level`, `part`, `event`, and what the event names.

    Every line is given to `also`, too.
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
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
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


def escape(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what comes from outside, for those to whom a tool shows a field as it was."""
    return {one_line(key): each(value, lines if key == "exception" else one_line) for key, value in event.items()}


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field whose name says that it is a secret."""
    return {
        key: "[REDACTED]" if any(word in key.lower() for word in _SECRET_WORDS) else value
        for key, value in event.items()
    }
