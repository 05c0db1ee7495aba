"""The middle layer: the wheels that `requirements/image.txt` pins, checked by their hashes."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from fleet.contract.errors import FleetError
from images.debian import compile_python
from images.layers import Layer, digest_of, layer

PACKAGES = "usr/local/lib/python3.11/dist-packages"
"""Where Debian's Python looks without being told."""
_GLIBC = 36
"""The minor version of bookworm's: wheels for any older one run."""
_DROPPED = (
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.c",
    "*.h",
    "tests",
    "testing/suite",
    "bin",
    "RECORD",
    "INSTALLER",
    "REQUESTED",
)
"""What is never imported, and what pip notes of this very machine (a RECORD has digests of scripts with its paths)."""


def wheels_layer(debian: Layer, requirements: bytes, name: str = "wheels") -> Layer:
    """The layer with the wheels that a requirements file pins by version and hash.

    Raises:
        FleetError: pip failed; the message holds what it said.
    """
    key = digest_of(Path(__file__).read_bytes(), requirements, debian.digest.encode())

    def fill(root: Path) -> None:
        _install(root / PACKAGES, requirements)
        compile_python(debian, root, PACKAGES)

    return layer(name, key, fill)


def _install(folder: Path, requirements: bytes) -> None:
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    argv += ["--target", str(folder), "--no-deps", "--require-hashes", "--requirement", "/dev/stdin"]
    # nkeys is published as source alone, and pure Python: it is built by the setuptools that is here.
    argv += ["--only-binary", ":all:", "--no-binary", "nkeys", "--no-build-isolation"]
    argv += ["--implementation", "cp", "--python-version", "3.11"]
    for tag in _platforms():
        argv += ["--platform", tag]
    done = subprocess.run(argv, input=requirements, capture_output=True, check=False)
    if done.returncode != 0:
        raise FleetError(
            f"pip cannot fetch the pinned wheels:\n{done.stderr.decode().strip()}",
            next_step="does `pip download msgspec` work here? then run this again",
        )
    for pattern in _DROPPED:
        for path in list(folder.rglob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _platforms() -> list[str]:
    machine = platform.machine()
    return [*(f"manylinux_2_{minor}_{machine}" for minor in range(_GLIBC, 16, -1)), f"manylinux2014_{machine}"]
