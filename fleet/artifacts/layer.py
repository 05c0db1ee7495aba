"""What an agent's artefact holds beside our own code: the pinned wheels, unpacked once for each set of pins.

One layer serves several versions of Python and several architectures. A compiled module whose name tells what it is
for lies beside the others; of those that have one name for all architectures, each gets a folder of its own, which
`fleet.agent` looks into.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from fleet.contract.errors import FleetError, InvalidInput, NotPermitted, Unreachable
from fleet.process.user_folders import user_cache

ARCHITECTURES = ("x86_64", "aarch64")
"""As `uname -m` names them."""
PYTHONS = ("3.11", "3.12", "3.13")
"""The versions of Python that an artefact runs on, oldest first."""
NATIVE = "_native"
"""The folder of what differs by architecture."""

_FORM = "2"
"""Changes when a layer is made in another way from the same pins."""
_GLIBC = range(17, 37)
"""Minor versions of glibc 2 that a wheel may ask for: a device has at least that of Debian 12, 2.36."""
_DEADLINE = 600
_SHOWN = 1500
_AT_BUILD = {"cffi", "pycparser"}
"""Packages that compile bindings; what they compiled imports `_cffi_backend` alone."""
_DROPPED = {"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json"}
"""Files of a `.dist-info` that tell how and by whom a wheel was installed."""


class Target(msgspec.Struct, frozen=True):
    """What an artefact must run on."""

    architectures: tuple[str, ...] = ARCHITECTURES
    pythons: tuple[str, ...] = PYTHONS

    def check(self) -> None:
        """Refuse what we have no wheels for.

        Raises:
            InvalidInput: a name that we do not know, or none at all.
        """
        for what, given, known in (
            ("architecture", self.architectures, ARCHITECTURES),
            ("version of Python", self.pythons, PYTHONS),
        ):
            if not given or not set(given) <= set(known):
                raise InvalidInput(
                    f"{', '.join(given) or 'nothing'!r} is no {what} that an agent is built for",
                    next_step=f"choose among {', '.join(known)}",
                )


def layer(pins: Path, target: Target, cache: Path) -> Path:
    """The folder with the wheels of `pins` for `target`: from the cache, or installed by pip, which needs the network.

    Raises:
        InvalidInput: the target is none of ours.
        Unreachable: pip failed; the message holds the end of what it said.
        FleetError: two wheels do not go together.
    """
    target.check()
    digest = hashlib.sha256(pins.read_bytes() + msgspec.json.encode((_FORM, target))).hexdigest()[:16]
    made = cache / digest
    if made.is_dir():
        return made
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotPermitted(
            f"the cache {cache} cannot be made: {error.strerror}",
            next_step="set XDG_CACHE_HOME to a folder that you may write to",
        ) from error
    with tempfile.TemporaryDirectory(prefix="layer-", dir=cache) as folder:
        work = Path(folder)
        merged = work / "merged"
        for architecture in target.architectures:
            for python in target.pythons:
                wheels = work / f"{architecture}-{python}"
                _install(pins, wheels, architecture, python)
                _merge(wheels, merged, architecture)
        try:
            merged.rename(made)
        except OSError:
            if not made.is_dir():  # somebody else has made the same meanwhile
                raise
    return made


def copy(source: Path, target: Path) -> None:
    """Copy one file with the same mode on every machine, whatever its umask is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)


def _install(pins: Path, target: Path, architecture: str, python: str) -> None:
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in _GLIBC] + [f"manylinux2014_{architecture}"]
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    argv += ["--no-compile", "--no-deps", "--require-hashes", "--only-binary=:all:", "--requirement", str(pins)]
    argv += ["--target", str(target), "--python-version", python, "--implementation", "cp"]
    argv += [word for platform in platforms for word in ("--platform", platform)]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_DEADLINE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unreachable(
            f"pip did not end within {_DEADLINE} s", next_step="is the package index reachable from here?"
        ) from error
    if done.returncode != 0:
        raise Unreachable(
            f"pip could not install what {pins} pins, for Python {python} on {architecture}",
            more=(done.stdout + done.stderr).strip()[-_SHOWN:].splitlines(),
            next_step="is the package index reachable from here? only the first build needs it",
        )


def _merge(wheels: Path, merged: Path, architecture: str) -> None:
    """Add what is new. Code that is there already must be the same; what tells about a wheel (its SBOM) may differ."""
    for folder, folders, names in os.walk(wheels):
        inside = Path(folder).relative_to(wheels)
        unused = {"__pycache__"} if inside.parts else {"__pycache__", "bin", *_AT_BUILD}
        folders[:] = [name for name in folders if name not in unused]
        for name in names:
            if name.endswith(".pyi") or (inside.suffix == ".dist-info" and name in _DROPPED):
                continue
            home = merged / NATIVE / architecture if _unnamed(name) else merged
            _add(wheels / inside / name, home / inside / name, str(inside / name))


def _unnamed(name: str) -> bool:
    return name.endswith(".abi3.so") or (name.endswith(".so") and name.count(".") == 1)


def _add(source: Path, target: Path, name: str) -> None:
    if not target.exists():
        copy(source, target)
    elif ".dist-info/" not in name and source.read_bytes() != target.read_bytes():
        raise FleetError(
            f"the wheels for two targets hold different files {name}",
            next_step="build for one version of Python and one architecture",
        )


def default_cache() -> Path:
    """Where layers are kept: `$XDG_CACHE_HOME/fleet/agent`, or under `~/.cache`."""
    return user_cache() / "fleet" / "agent"
