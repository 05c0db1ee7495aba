"""The images of a server's pods on a cluster of the harness: the product's, and those of what stands round it.

Each is built here and loaded from the side, so a cluster pulls nothing. They are kept in the cache of `images`.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion
from fleet.version import VERSION
from harness.binaries import resolve
from harness.errors import BuildFailed
from harness.images import static_busybox
from images.archive import Image, docker_archive
from images.layers import Layer, digest_of, layer
from images.product import product_image, write_sources
from images.wheels import wheels_layer

_ROOT = Path(__file__).parents[2]
_DOUBLE = ("*.py", "processes/__init__.py", "processes/asgi.py", "doubles/__init__.py", "doubles/zitadel/*.py")
"""What the identity double imports of the harness: some of its modules, and none of its other packages."""


class Archive(msgspec.Struct, frozen=True):
    """A docker archive, and the name that the image in it has."""

    image: str
    path: Path


def product(version: AgentVersion = VERSION) -> Archive:
    """The product's image; another version is the same code that calls itself so.

    Raises:
        BuildFailed: it cannot be built here; the message says what is missing.
    """
    return _archived(lambda: product_image(version))


def nats() -> Archive:
    """The pinned nats-server, with the wget by which it is asked how it is, as in NATS' own image on Alpine.

    Raises:
        BinaryMissing, BuildFailed: there is none, and none can be built.
    """
    server = resolve("nats-server")
    version = subprocess.run([server, "--version"], capture_output=True, check=True, text=True).stdout.split()[-1]
    return _archived(
        lambda: Image(
            f"localhost/fleet-nats:{version.removeprefix('v')}",
            (_binary("nats-server"), _wget()),
            (),
            entrypoint=("nats-server",),  # as in NATS' own image, so that arguments alone will do
        )
    )


def pause() -> Archive:
    """The image of pods' sandboxes.

    Raises:
        BinaryMissing, BuildFailed: there is no Go to build it with, or it failed.
    """
    return _archived(lambda: Image("localhost/fleet-pause:1", (_binary("pause"),), ("/usr/local/bin/pause",)))


def zitadel_double() -> Archive:
    """The identity double: on the product's wheels, with the one that only the double needs.

    Raises:
        BuildFailed: it cannot be built here; the message says what is missing.
    """
    return _archived(_zitadel_double)


def _zitadel_double() -> Image:
    debian, wheels, _ = product_image().layers
    pins = (_ROOT / "requirements" / "dev.txt").read_text()
    multipart = re.search(r"^python-multipart==(.*\\\n)+.*\n", pins, re.MULTILINE)
    if multipart is None:
        raise BuildFailed("requirements/dev.txt does not pin python-multipart", next_step="./scripts/lock.sh")
    form = wheels_layer(debian, multipart.group().encode(), "multipart")
    sources = {
        f"harness/{path.relative_to(_ROOT / 'harness')}": path.read_bytes()
        for pattern in _DOUBLE
        for path in sorted((_ROOT / "harness").glob(pattern))
    }
    ours = layer(
        "zitadel-double",
        digest_of(debian.digest.encode(), *(part for name, text in sources.items() for part in (name.encode(), text))),
        lambda root: write_sources(debian, root, sources),
    )
    command = ("python3", "-sP", "-m", "harness.doubles.zitadel", "--help")
    return Image(f"localhost/fleet-zitadel-double:{VERSION}", (debian, wheels, form, ours), command)


def _binary(name: str) -> Layer:
    program = resolve(name)

    def fill(root: Path) -> None:
        target = root / "usr/local/bin" / name
        target.parent.mkdir(parents=True)
        shutil.copyfile(program, target)
        target.chmod(0o755)

    return layer(name, digest_of(program.read_bytes()), fill)


def _wget() -> Layer:
    program = static_busybox()

    def fill(root: Path) -> None:
        target = root / "bin/busybox"
        target.parent.mkdir(parents=True)
        shutil.copyfile(program, target)
        target.chmod(0o755)
        (root / "bin/wget").symlink_to("busybox")

    return layer("wget", digest_of(program.read_bytes()), fill)


def _archived(make: Callable[[], Image]) -> Archive:
    with _as_harness_errors():
        image = make()
        return Archive(image.name, docker_archive(image))


@contextlib.contextmanager
def _as_harness_errors() -> Generator[None]:
    try:
        yield
    except FleetError as error:
        raise BuildFailed(error.what, next_step=error.next_step) from error
