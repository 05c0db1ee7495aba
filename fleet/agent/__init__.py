"""The device's side: makes the desired state true through the container engine, and reports what came of it.

A device has little memory, and three libraries take more when they find company that the agent has no use for:
nats-py takes aiohttp (for WebSockets), structlog takes rich, httpx takes click, rich and Pygments (for its command
line). Where those are installed they cost 15 MB, so they are hidden for the moment in which the three are imported.
"""

from __future__ import annotations

import importlib
import sys

_UNUSED = ("aiohttp", "click", "rich")


def _import_alone(*names: str) -> None:
    hidden = [name for name in _UNUSED if name not in sys.modules]
    try:
        for name in hidden:
            sys.modules[name] = None  # pyright: ignore[reportArgumentType] - says "not installed" to the import system
        for name in names:
            importlib.import_module(name)
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


_import_alone("nats.aio.client", "structlog", "httpx")
