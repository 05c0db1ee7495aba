"""The product's image: this tree's `fleet` on the wheels on Python."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from fleet.contract.names import AgentVersion
from fleet.version import VERSION
from images.archive import Image
from images.debian import PYTHON, compile_python, debian_layer
from images.layers import Layer, digest_of, layer
from images.wheels import PACKAGES, wheels_layer

NAME = "localhost/fleet"
"""`localhost/` as podman has it: an image of this machine, which no engine tries to pull."""
PROGRAMS = ("fleet", "fleet-callout", "fleet-operator")
SOURCE_LABEL = "io.nationtech.fleet.source-digest"
"""What the image was made of: equal for equal sources, whatever the revision says."""

_ROOT = Path(__file__).parents[1]
_PROJECT = "pyproject.toml"
_VERSION_FILE = "fleet/version.py"
_SCRIPT = """\
#!{python} -sP
import sys

from {module} import {function}

sys.exit({function}())
"""


def product_image(version: AgentVersion = VERSION, *, name: str = NAME) -> Image:
    """The image; `version` is its tag, and what its programs say of themselves.

    Raises:
        FleetError: a layer cannot be made here; the message says what is missing.
    """
    debian = debian_layer()
    wheels = wheels_layer(debian, (_ROOT / "requirements" / "image.txt").read_bytes())
    sources = _sources(version)
    digest = digest_of(*(part for path, content in sources.items() for part in (path.encode(), content)))
    ours = _product_layer(debian, version, sources, digest)
    labels = {
        "org.opencontainers.image.title": "fleet",
        "org.opencontainers.image.version": str(version),
        "org.opencontainers.image.revision": revision(),
        SOURCE_LABEL: f"sha256:{digest}",
    }
    layers = (debian, wheels, ours)
    return Image(f"{name}:{version}".replace("+", "_"), layers, ("fleet", "--help"), labels, {"HOME": "/tmp"})  # noqa: S108


def revision() -> str:
    """The commit that the tree is at, with `-dirty` when it holds more; `unknown` outside a repository."""
    argv = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    told = subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def _sources(version: AgentVersion) -> dict[str, bytes]:
    """Every file of the product by its path, with the version stamped in."""
    found = {
        str(path.relative_to(_ROOT)): path.read_bytes()
        for path in sorted((_ROOT / "fleet").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    found[_VERSION_FILE] = re.sub(
        rb'AgentVersion\("v[^"]*"\)', f'AgentVersion("{version}")'.encode(), found[_VERSION_FILE]
    )
    return {**found, _PROJECT: (_ROOT / _PROJECT).read_bytes()}


def _product_layer(debian: Layer, version: AgentVersion, sources: dict[str, bytes], digest: str) -> Layer:
    def fill(root: Path) -> None:
        packages = root / PACKAGES
        write_sources(debian, root, {name: text for name, text in sources.items() if name != _PROJECT})
        project = tomllib.loads(sources[_PROJECT].decode())["project"]
        _describe(packages / f"fleet-{version.removeprefix('v')}.dist-info", version, project["entry-points"])
        for program in PROGRAMS:
            module, function = project["scripts"][program].split(":")
            script = root / "usr/local/bin" / program
            _write(script, _SCRIPT.format(python=PYTHON, module=module, function=function).encode())
            script.chmod(0o755)

    return layer("fleet", digest_of(Path(__file__).read_bytes(), digest.encode(), debian.digest.encode()), fill)


def write_sources(debian: Layer, root: Path, sources: dict[str, bytes]) -> None:
    """Write Python packages where the image's Python looks, and compile them."""
    for name, content in sources.items():
        _write(root / PACKAGES / name, content)
    compile_python(debian, root, PACKAGES)


def _describe(folder: Path, version: AgentVersion, points: dict[str, dict[str, str]]) -> None:
    """The distribution's metadata: what it is, and its entry points."""
    lines: list[str] = []
    for group, members in points.items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in members.items())]
    _write(folder / "METADATA", f"Metadata-Version: 2.1\nName: fleet\nVersion: {version.removeprefix('v')}\n".encode())
    _write(folder / "entry_points.txt", "\n".join([*lines, ""]).encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
