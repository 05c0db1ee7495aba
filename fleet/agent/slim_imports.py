"""Imports the libraries of the agent without the company that it has no use for.

A device has little memory, and three libraries take more when they find others: nats-py takes aiohttp (for WebSockets),
structlog takes rich, httpx takes click, rich and Pygments (for its command line). Where those are installed they cost
15 MB, so they are hidden for the moment in which the three are imported. The processes that an agent starts for a task
import none of this package's heavy modules, and none of the three unless they need it.
"""

from __future__ import annotations

import importlib
import sys

_LIBRARIES = ("nats.aio.client", "structlog", "httpx")
_UNUSED = ("aiohttp", "click", "rich")


def import_libraries() -> None:
    """Have them in `sys.modules`."""
    hidden = [name for name in _UNUSED if name not in sys.modules]
    try:
        for name in hidden:
            sys.modules[name] = None  # pyright: ignore[reportArgumentType] - says "not installed" to the import system
        for name in _LIBRARIES:
            importlib.import_module(name)
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
