"""The device's side: makes the desired state true through the container engine, and reports what came of it.

A device has little memory, and three libraries take more when they find company that the agent has no use for:
nats-py takes aiohttp (for WebSockets), structlog takes rich, httpx takes click, rich and Pygments (for its command
line). Where those are installed they cost 15 MB, so they are hidden for the moment in which the three are imported.

An agent that was built for several architectures keeps compiled modules whose name does not tell theirs in a folder for
each (`fleet.artifacts.layer`); their packages are told to look into the one of this machine.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

_NATIVE = Path(__file__).parents[2] / "_native" / os.uname().machine
_UNUSED = ("aiohttp", "click", "rich")


def _find_native() -> None:
    for module in _NATIVE.rglob("*.so"):
        package = importlib.import_module(".".join(module.parent.relative_to(_NATIVE).parts))
        package.__path__.append(str(module.parent))


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


_find_native()
_import_alone("nats.aio.client", "structlog", "httpx")
