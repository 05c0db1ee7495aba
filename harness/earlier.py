"""Earlier releases of Fleet as their users had them: programs and images, made from this repository's history."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fleet.contract.names import AgentVersion
from harness.errors import BuildFailed
from harness.images.server import Archive
from harness.parts import write_atomic

_ROOT = Path(__file__).parents[1]
_VERSION = re.compile(r'AgentVersion\("v[^"]*"\)')


class Release(msgspec.Struct, frozen=True):
    """A release: the version that it calls itself, and the commit that it is."""

    version: AgentVersion
    commit: str


BEFORE = Release(AgentVersion("v0.0.9"), "705d0063183812d60ddce2d3e974326c8ab2acef")
"""The one before this: its definition of a Device has no `agentVersionsKept`."""
LONG_BEFORE = Release(AgentVersion("v0.0.8"), "b8f38c35cff057c4489a76f29c2066e4065a419b")
"""The one before that: its agents do not tell in which form they keep their state."""


def program(release: Release) -> Path:
    """The release's own `fleet`, which installs the release's own image.

    Raises:
        BuildFailed: this checkout does not hold the release.
    """
    tree = _tree(release)
    path = tree / "bin" / "fleet"
    # Not by PYTHONPATH: what the program starts would have it too.
    lines = [
        f"#!{sys.executable}",
        "import os, sys",
        f"sys.path.insert(0, {str(tree)!r})",
        f"os.environ['FLEET_IMAGE'] = {_image(release)!r}",
        "from fleet.cli.main import main",
        "sys.exit(main())",
    ]
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode(), mode=0o755)
    return path


def image(release: Release) -> Archive:
    """The release's image, built by the release's own code.

    Raises:
        BuildFailed: it cannot be built here; the message holds what was said.
    """
    tree = _tree(release)
    archive = Archive(_image(release), tree / "image.tar")
    if not archive.path.exists():
        argv = [sys.executable, "-m", "images", "--version", release.version, "--archive", str(archive.path)]
        _run(argv, tree, {**os.environ, "PYTHONPATH": str(tree)}, f"the image of {release.version}")
    return archive


def _image(release: Release) -> str:
    return f"localhost/fleet:{release.version}"


def _tree(release: Release) -> Path:
    """The release's files, with its version stamped in; taken out of the history once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleet" / "releases"
    tree = cache / f"{release.version}-{release.commit[:12]}"
    if tree.exists():
        return tree
    archive = _run(["git", "archive", release.commit], _ROOT, os.environ, f"{release.version} (git fetch --unshallow)")
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=cache))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(partial, filter="data")
        stamp = partial / "fleet" / "version.py"
        stamp.write_text(_VERSION.sub(f'AgentVersion("{release.version}")', stamp.read_text()))
        partial.rename(tree)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return tree


def _run(argv: list[str], folder: Path, env: Mapping[str, str], what: str) -> bytes:
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"{what} cannot be made: {done.stderr.decode().strip()}", next_step=f"see why: {argv}")
    return done.stdout
