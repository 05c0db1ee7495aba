"""Why something failed, in words for a person. The class of an error is a name for programmers."""

from __future__ import annotations

import os
import re
import ssl

_PREFIX = "nats: "
"""What nats-py puts before its texts."""
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
_CODES = re.compile(r"\[(Errno (-?\d+|None)|[A-Z0-9]+(: [A-Z0-9_]+)?)\] | \(_ssl\.c:\d+\)")
"""The kernel's numbers, and OpenSSL's names, beside what they mean."""


def timed_out(error: BaseException) -> bool:
    """Whether no answer came in time. httpx's timeouts are no `TimeoutError`, and this module loads no httpx."""
    return isinstance(error, TimeoutError) or any(base.__name__ == "TimeoutException" for base in type(error).__mro__)


def in_words(error: BaseException) -> str:
    """What an error of a connection or a library says. Where it has no text, its name as words."""
    own = type(error) is TimeoutError and error.errno is None and str(error)
    if timed_out(error) and not own:
        return "no answer in time"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        text = error.strerror or ""
        # asyncio says "Connect call failed" of whatever went wrong; the number says what.
        return text if text and not text.startswith("Connect call failed") else os.strerror(error.errno)
    text = _CODES.sub("", str(error)).removeprefix(_PREFIX).strip()
    return text or _WORD.sub(" ", type(error).__name__).lower()


def unanswered(server: str, error: BaseException) -> str:
    """That a server did not answer, and why."""
    return f"{server} did not answer in time" if timed_out(error) else f"{server} did not answer: {in_words(error)}"
