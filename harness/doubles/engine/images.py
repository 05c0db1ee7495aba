"""Images: docker archives unpacked below the double's folder, and a registry that is a folder of archives."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, cast

import msgspec

from harness.doubles.engine.errors import Refused, no_reference, no_such_image
from harness.doubles.engine.records import Config
from harness.doubles.engine.remote import Fetched
from harness.doubles.engine.volumes import size_of
from harness.images.tars import extract

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[A-Za-z0-9_.-]+)?(?:@?sha256:[0-9a-f]{{64}})?"
)
"""An image's name (OCI distribution specification, and the host and tag that engines add), or its id."""


class _Manifest(msgspec.Struct, frozen=True, rename="pascal"):
    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


class Image(msgspec.Struct, frozen=True, rename="pascal"):
    """An image: its id, its names, and what its containers get where they do not say otherwise."""

    id: str
    repo_tags: list[str]
    config: Config
    repo_digests: list[str] = []
    os: str = ""
    architecture: str = ""


class _ImageFile(msgspec.Struct, frozen=True):
    config: Config = Config()
    os: str = ""
    architecture: str = ""


class Images:
    """Images on disk: `<folder>/<digest>/{image.json,root/}`."""

    def __init__(self, folder: Path, registry: Path) -> None:
        """Use what earlier runs left there."""
        self._folder = folder
        self._registry = registry
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> Image:
        """The image of a name, tag or id.

        Raises:
            Refused: 404 there is none; 400 the name cannot be one.
        """
        if not _REFERENCE.fullmatch(name):
            raise no_reference()
        reference = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        for file in self._folder.glob("*/image.json"):
            image = msgspec.json.decode(file.read_bytes(), type=Image)
            if reference in image.repo_tags or name in {image.id, image.id.removeprefix("sha256:")}:
                return image
        raise no_such_image(name)

    def size(self) -> int:
        """The bytes of all of them."""
        return size_of(self._folder)

    def root(self, image: Image) -> Path:
        """The unpacked file system; for copying, not for running in."""
        return self._folder / image.id.removeprefix("sha256:") / "root"

    def load(self, archive: bytes) -> list[str]:
        """Import a docker archive; returns the names it brought.

        Raises:
            Refused: 400 it is none.
        """
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                entries = msgspec.json.decode(_read(tar, "manifest.json"), type=list[_Manifest])
                return [name for entry in entries for name in self._add(tar, entry)]
        except (tarfile.TarError, KeyError, msgspec.DecodeError) as error:
            raise Refused(400, f"invalid archive: {error}") from error

    def pull(self, name: str, tag: str) -> str:
        """Fetch `name:tag` from the registry; returns what it is called here.

        Raises:
            Refused: 404 the registry does not have it.
        """
        reference = f"{name}:{tag}"
        for file in sorted(self._registry.glob("*.tar")):
            archive = file.read_bytes()
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                entries = msgspec.json.decode(_read(tar, "manifest.json"), type=list[_Manifest])
            if any(reference in (entry.repo_tags or []) for entry in entries):
                self.load(archive)
                return reference
        raise Refused(404, f"pull access denied for {name}, repository does not exist or may require 'docker login'")

    def add(self, name: str, tag: str, fetched: Fetched) -> None:
        """Keep an image that came from a registry."""
        home = self._unpacked(fetched.config, fetched.layers)
        digests = [f"{name}@{fetched.digest}"]
        self._note(home, fetched.config, [f"{name}:{tag}"], digests)

    def remove(self, name: str) -> None:
        """Forget an image.

        Raises:
            Refused: 404 there is none.
        """
        shutil.rmtree(self._folder / self.find(name).id.removeprefix("sha256:"))

    def _add(self, tar: tarfile.TarFile, entry: _Manifest) -> list[str]:
        config = _read(tar, entry.config)
        names = entry.repo_tags or []
        home = self._unpacked(config, (_read(tar, layer) for layer in entry.layers))
        self._note(home, config, names, [])
        return names

    def _unpacked(self, config: bytes, layers: Iterable[bytes]) -> Path:
        home = self._folder / hashlib.sha256(config).hexdigest()
        if not home.exists():
            for layer in layers:
                with tarfile.open(fileobj=io.BytesIO(layer)) as files:
                    extract(files, home / "root")
            null = home / "root/dev/null"
            null.parent.mkdir(exist_ok=True)
            null.touch()
        return home

    def _note(self, home: Path, config: bytes, names: list[str], digests: list[str]) -> None:
        for other in self._folder.glob("*/image.json"):
            self._untag(other, set(names))
        # An image's configuration repeats the container's shape (OCI image specification, `config`).
        file = msgspec.json.decode(config, type=_ImageFile)
        image = Image(f"sha256:{home.name}", names, file.config, digests, file.os, file.architecture)
        (home / "image.json").write_bytes(msgspec.json.encode(image))

    def _untag(self, file: Path, names: set[str]) -> None:
        image = msgspec.json.decode(file.read_bytes(), type=Image)
        kept = [name for name in image.repo_tags if name not in names]
        if kept != image.repo_tags:
            file.write_bytes(msgspec.json.encode(msgspec.structs.replace(image, repo_tags=kept)))


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    return cast("IO[bytes]", tar.extractfile(name)).read()


def progress(*lines: Mapping[str, object]) -> bytes:
    """A pull's or load's answer: one JSON object a line."""
    return b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)
