"""Builds `fleet-agent-v<semver>`: one reproducible file, a zipapp made by shiv.

The same sources and pins give the same bytes: every file has the same date, mode and order, whatever machine builds it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import shiv

import fleet
from fleet.agent.upgrade.device.files import tree_digest
from fleet.artifacts.layer import Target, copy, default_cache, layer
from fleet.contract.errors import FleetError, InvalidInput, NotPermitted
from fleet.contract.names import AgentVersion
from fleet.process.durable import replace_file

_PARTS = ("agent", "artifacts", "contract", "doctor", "identity", "nats", "process", "sealing")
"""The packages of ours that an agent imports; the modules beside them go with it too."""
_PINS = Path("requirements/agent.txt")
_STAMPED = "version.py"
_STAMP = """\
from fleet.contract.names import AgentVersion

VERSION = AgentVersion("{version}")
"""
_DEADLINE = 120
_OPTIONS = (
    *("--reproducible", "--entry-point", "fleet.entry:main", "--python", "/usr/bin/env python3"),
    "--extend-pythonpath",  # the agent starts processes of its own modules
)


def build(version: AgentVersion, out: Path, target: Target, *, cache: Path | None = None) -> Path:
    """Build the agent of the checkout that this runs from, as `version`; returns the artefact, in the folder `out`.

    The first build for a set of pins installs them, which takes a minute and the network; a further one takes seconds,
    and one of the same sources is taken from the cache.

    Raises:
        InvalidInput: this is no checkout, the target is none of ours, or there is no folder `out`.
        FleetError: pip or shiv failed.
    """
    pins = _checkout() / _PINS
    if not out.is_dir():
        raise InvalidInput(f"there is no folder {out}", next_step="make it first")
    cache = cache or default_cache()
    wheels = layer(pins, target, cache)
    artifact = out / f"fleet-agent-{version}"
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as folder:
        sources, made = Path(folder) / "sources", Path(folder) / "made"
        ours, tool = sources / "ours", sources / "tool"
        _copy_ours(ours)
        (ours / "fleet" / _STAMPED).write_text(_STAMP.format(version=version))
        _copy_tree(Path(shiv.__file__).parent, tool / "shiv")
        name = f"made-{version}-{wheels.name}"
        kept = cache / f"{name}-{_digest(sources)}"
        if not _copied(kept, made):
            _run_shiv(tool, (wheels, ours), made)
            for old in cache.glob(f"{name}-*"):  # the same from other sources
                old.unlink(missing_ok=True)
        hand_out(made, artifact)
        made.replace(kept)
    return artifact


def _checkout() -> Path:
    folder = Path(fleet.__file__).parents[1]
    if not (folder / _PINS).is_file():
        raise InvalidInput(
            f"an agent is built from a checkout of the sources, and {folder} is none (it has no {_PINS})",
            next_step="run this with the fleet command of a checkout",
        )
    return folder


def _digest(sources: Path) -> str:
    """Says all that an artefact's bytes depend on, but for the wheels."""
    words = (sys.version, zlib.ZLIB_RUNTIME_VERSION, *_OPTIONS, tree_digest(sources, compiled=True))
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def hand_out(made: Path, artifact: Path) -> None:
    """Put the built file at its place, as a whole or not at all: half of one can be signed, and starts nowhere.

    Raises:
        NotPermitted: it cannot be written there.
    """
    try:
        replace_file(artifact, made.read_bytes(), 0o755, shared=True)
    except OSError as error:
        raise NotPermitted(
            f"cannot write {artifact}: {error.strerror}", next_step="free space or choose another folder"
        ) from error


def _copied(kept: Path, made: Path) -> bool:
    try:
        shutil.copyfile(kept, made)
    except FileNotFoundError:
        return False
    return True


def _copy_ours(target: Path) -> None:
    source = Path(fleet.__file__).parent
    for path in source.glob("*.py"):
        copy(path, target / "fleet" / path.name)
    for part in _PARTS:
        _copy_tree(source / part, target / "fleet" / part)


def _copy_tree(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            copy(path, target / path.relative_to(source))


def _run_shiv(tool: Path, folders: tuple[Path, ...], made: Path) -> None:
    """Run shiv from a copy of its own: what it takes along of itself has the modes of the copy."""
    argv = [sys.executable, "-m", "shiv", *_OPTIONS]
    argv += [word for folder in folders for word in ("--site-packages", str(folder))]
    env = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        [*argv, "--output-file", str(made)],
        env={**env, "PYTHONPATH": str(tool), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    if done.returncode != 0:
        raise FleetError(
            "shiv could not build the agent",
            more=(done.stdout + done.stderr).strip().splitlines(),
            next_step="mend what it names, then build again",
        )
