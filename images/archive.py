"""An image in the forms that engines take: the docker archive (`docker load`, `ctr images import`) and the OCI layout.

Formats: https://github.com/opencontainers/image-spec (config.md, image-layout.md, manifest.md) and, for the archive,
https://github.com/moby/docker-image-spec (v1.2).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import platform
import shutil
import tarfile
from pathlib import Path
from typing import Any

import msgspec

from images.layers import Layer, cache

USER = "65532:0"
"""Not root, but of its group: what the image lets group 0 write, any user that OKD assigns may write."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The kernel's names for machines, and those of images (GOARCH)."""
_ARCHIVES = 3
"""How many of one name are kept: each is as large as its image."""
_EPOCH = "1970-01-01T00:00:00Z"
_MEDIA = "application/vnd.oci.image"


class Image(msgspec.Struct, frozen=True):
    """An image: its name with a tag, its layers from the lowest, and what its containers start with.

    Arguments of a container replace `command`; they follow `entrypoint`.
    """

    name: str
    layers: tuple[Layer, ...]
    command: tuple[str, ...]
    labels: dict[str, str] = {}
    env: dict[str, str] = {}
    user: str = USER
    entrypoint: tuple[str, ...] = ()

    @property
    def config(self) -> bytes:
        """The image's configuration as JSON; its SHA-256 is the image's id."""
        machine = platform.machine()
        return msgspec.json.encode(
            {
                "architecture": _ARCHITECTURES.get(machine, machine),
                "os": "linux",
                "created": _EPOCH,
                "config": {
                    "User": self.user,
                    "Env": [f"{name}={value}" for name, value in sorted({"PATH": PATH, **self.env}.items())],
                    **({"Entrypoint": list(self.entrypoint)} if self.entrypoint else {}),
                    "Cmd": list(self.command),
                    "WorkingDir": "/",
                    "Labels": dict(sorted(self.labels.items())),
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers]},
            }
        )

    @property
    def id(self) -> str:
        """The SHA-256 of the configuration, in hexadecimal: equal ids are equal images."""
        return hashlib.sha256(self.config).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of its layers, unpacked."""
        return sum(layer.tar.stat().st_size for layer in self.layers)


def docker_archive(image: Image) -> Path:
    """The image as a docker archive in the cache, written when it is not there yet."""
    title = image.name.rpartition("/")[2].replace(":", "-")
    path = cache() / f"{title}-{image.id[:16]}.tar"
    if path.exists():
        path.touch()
    else:
        write_docker_archive(image, path)
        for old in sorted(cache().glob(f"{title}-*.tar"), key=lambda found: found.stat().st_mtime)[:-_ARCHIVES]:
            old.unlink(missing_ok=True)
    return path


def write_docker_archive(image: Image, target: Path) -> None:
    """Write one file that `docker load` and `ctr images import` take; it appears whole or not at all."""
    manifest = [
        {
            "Config": f"{image.id}.json",
            "RepoTags": [image.name],
            "Layers": [f"{layer.digest}/layer.tar" for layer in image.layers],
        }
    ]
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, f"{image.id}.json", image.config)
        _add(tar, "manifest.json", msgspec.json.encode(manifest))
        for layer in image.layers:
            entry = tarfile.TarInfo(f"{layer.digest}/layer.tar")
            entry.size = layer.tar.stat().st_size
            with layer.tar.open("rb") as content:
                tar.addfile(entry, content)
    partial.rename(target)


def write_oci_layout(image: Image, folder: Path) -> None:
    """Write the folder that `skopeo copy oci:…` and `buildah` take, with compressed layers; `folder` is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"{_MEDIA}.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA}.manifest.v1+json",
        "config": put(image.config, "config.v1+json"),
        "layers": [put(gzip.compress(layer.tar.read_bytes(), mtime=0), "layer.v1.tar+gzip") for layer in image.layers],
    }
    found = put(msgspec.json.encode(manifest), "manifest.v1+json")
    found["annotations"] = {"org.opencontainers.image.ref.name": image.name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [found]}
    (folder / "index.json").write_bytes(msgspec.json.encode(index))
    (folder / "oci-layout").write_bytes(msgspec.json.encode({"imageLayoutVersion": "1.0.0"}))


def write_root(image: Image, folder: Path) -> None:
    """Write the layers' content over one another into a folder, as `COPY` of a Containerfile takes it."""
    for layer in image.layers:
        shutil.copytree(layer.root, folder, symlinks=True, dirs_exist_ok=True)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
