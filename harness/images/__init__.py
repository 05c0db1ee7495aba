"""The test image, built here from busybox-static: no registry, no `docker build`, the same bytes every time.

`fleet-test/busybox:1` holds every applet in /bin and a page in /www. Commands make the variants:

    a web server      httpd -f -p 80 -h /www
    runs for ever     sleep 1000000
    crashes           sh -c "exit 3"
    healthy on order  sleep 1000000, with the health check  test -e /tmp/well

Its stop signal is SIGKILL, for an applet that is process 1 ignores SIGTERM and every stop would take ten seconds.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import msgspec

from harness.errors import BinaryMissing

IMAGE = "fleet-test/busybox:1"
PAGE = b"fleet\n"
"""What the image's web server answers to `GET /`."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
"""The kernel's names for machines, and those of images (GOARCH)."""
_FILES = {"www/index.html": PAGE, "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n", "etc/group": b"root:x:0:\n"}
_FOLDERS = {"bin": 0o755, "dev": 0o755, "etc": 0o755, "proc": 0o755, "sys": 0o755, "tmp": 0o1777, "www": 0o755}


class Busybox(msgspec.Struct, frozen=True):
    """A static busybox, the applets that it plays, and the kernel's name of the machine that it runs on."""

    program: bytes
    applets: tuple[str, ...]
    machine: str


def busybox_archive(image: str = IMAGE, *, page: bytes = PAGE, of: Busybox | None = None) -> bytes:
    """The image as a docker archive, for `POST /images/load` or `ctr images import`.

    Args:
        image: The name and tag that it gets.
        page: What its web server answers; another page makes another image.
        of: What it is made of; None: this machine's busybox.

    Raises:
        BinaryMissing: there is no static busybox on this machine.
    """
    of = of or own_busybox()
    layer = _layer(of, page)
    digest = hashlib.sha256(layer).hexdigest()
    config = msgspec.json.encode(_config(digest, of.machine))
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = msgspec.json.encode([{"Config": name, "RepoTags": [image], "Layers": [f"{digest}/layer.tar"]}])
    return _tar({name: config, f"{digest}/layer.tar": layer, "manifest.json": manifest})


def _config(digest: str, machine: str) -> dict[str, object]:
    return {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "StopSignal": "SIGKILL"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }


def static_busybox() -> Path:
    """The busybox of this machine, which runs in any image.

    Raises:
        BinaryMissing: there is none that is statically linked.
    """
    path = shutil.which("busybox")
    if path is None or b"ld-linux" in Path(path).read_bytes()[:4096]:
        raise BinaryMissing(
            "no static busybox on this machine" if path is None else f"{path} is not statically linked",
            next_step="apt-get install busybox-static",
        )
    return Path(path)


def own_busybox() -> Busybox:
    """The busybox of this machine; as `static_busybox` for errors."""
    path = static_busybox()
    listed = subprocess.run([str(path), "--list"], capture_output=True, check=True, text=True)
    return Busybox(path.read_bytes(), tuple(listed.stdout.split()), os.uname().machine)


def _layer(busybox: Busybox, page: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in _FOLDERS.items():
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        _add(tar, "bin/busybox", busybox.program, 0o755)
        for applet in sorted(set(busybox.applets) - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, content in sorted({**_FILES, "www/index.html": page}.items()):
            _add(tar, name, content, 0o644)
    return buffer.getvalue()


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            _add(tar, name, content, 0o644)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
