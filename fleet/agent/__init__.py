"""The device's side: makes the desired state true through the container engine, and reports what came of it.

An agent that was built for several architectures keeps compiled modules whose name does not tell theirs in a folder for
each (`fleet.artifacts.layer`); their packages look into the layer of this machine.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

_NATIVE = Path(__file__).parents[2] / "_native" / os.uname().machine


def _find_native() -> None:
    for module in _NATIVE.rglob("*.so"):
        package = importlib.import_module(".".join(module.parent.relative_to(_NATIVE).parts))
        package.__path__.append(str(module.parent))


_find_native()
