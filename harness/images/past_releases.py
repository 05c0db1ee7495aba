"""Earlier releases of Fleet as their users had them: programs and images, made from this repository's history."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec

from fleet.contract.names import AgentVersion
from harness.errors import BuildFailed
from harness.images.server import Archive
from harness.images.tars import extract
from harness.processes.spawn import python_script
from harness.processes.spec import write_atomic
from harness.scenario.command_line import Value
from harness.world.world import World
from images.layers import digest_of, layer

_ROOT = Path(__file__).parents[2]
_VERSION = re.compile(r'AgentVersion\("v[^"]*"\)')


class Release(msgspec.Struct, frozen=True):
    """A release: the version that it calls itself, and the commit that it is."""

    version: AgentVersion
    commit: str


BEFORE = Release(AgentVersion("v0.0.9"), "705d0063183812d60ddce2d3e974326c8ab2acef")
"""The one before this: its definition of a Device has no `agentVersionsKept`."""
LONG_BEFORE = Release(AgentVersion("v0.0.8"), "b8f38c35cff057c4489a76f29c2066e4065a419b")
"""The one before that: its agents do not tell in which form they keep their state."""


def names_of(world: World) -> dict[str, Value]:
    """What the placeholders of the releases before this one stand for; every machine gets the image of the last.

    Raises:
        HarnessError: this checkout does not hold them, or the image cannot be built or loaded here.
    """
    world.machines.load(_image(BEFORE))
    return {
        "before": str(_program(BEFORE, world.root)),
        "long_before": str(_program(LONG_BEFORE, world.root)),
        "version_long_before": LONG_BEFORE.version,
    }


def _program(release: Release, folder: Path) -> Path:
    """The release's own `fleet`, which installs the release's own image; written into a folder of this run."""
    path = folder / "releases" / f"fleet-{release.version}"
    # Not by PYTHONPATH: what the program starts would have it too.
    lines = [
        "import os, sys",
        f"sys.path.insert(0, {str(_sources(release))!r})",
        f"os.environ['FLEET_IMAGE'] = {_image_name(release)!r}",
        "from fleet.cli.main import main",
        "sys.exit(main())",
    ]
    program = path.with_name(f"{path.name}.py")
    write_atomic(program, "".join(f"{line}\n" for line in lines).encode())
    write_atomic(path, python_script(str(program)).encode(), mode=0o755)
    return path


def _image(release: Release) -> Archive:
    """The release's image, built once by the release's own code."""
    tree = _sources(release)
    archive = Archive(_image_name(release), tree.with_name("image.tar"))
    if not archive.path.exists():
        argv = [sys.executable, "-m", "images", "--version", release.version, "--archive", str(archive.path)]
        done = subprocess.run(
            argv, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            what = f"the image of {release.version} cannot be built: {done.stderr.strip()}"
            raise BuildFailed(what, next_step=f"in {tree}: python -m images --version {release.version}")
    return archive


def _image_name(release: Release) -> str:
    return f"localhost/fleet:{release.version}"


def _sources(release: Release) -> Path:
    """The release's files, with its version stamped in; taken out of the history once."""
    key = digest_of(Path(__file__).read_bytes(), release.commit.encode())
    return layer(f"release-{release.version}", key, lambda root: _take_out(release, root)).root


def _take_out(release: Release, root: Path) -> None:
    argv = ["git", "archive", release.commit]
    done = subprocess.run(argv, cwd=_ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        message = done.stderr.decode().strip()
        raise BuildFailed(
            f"this checkout does not hold {release.version} ({release.commit}): {message}",
            next_step="git fetch --unshallow",
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        extract(tar, root)
    stamp = root / "fleet" / "version.py"
    stamp.write_text(_VERSION.sub(f'AgentVersion("{release.version}")', stamp.read_text()))
