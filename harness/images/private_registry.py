"""Debian's `docker-registry` on this machine, which asks everybody for a password, unless it is open to all."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import secrets
import shutil
import ssl
import tarfile
from collections.abc import Generator
from pathlib import Path

import httpx
import msgspec

from harness.errors import BinaryMissing, HarnessError
from harness.images import busybox_archive
from harness.processes.ports import Ports
from harness.processes.spawn import port_answers, running
from harness.targets.certificates import Authority

USER, PASSWORD = "puller", "right-4c21"
_HTPASSWD = f"{USER}:$2b$04$W9Y1A1j.4TeM6TxoiF67EOo17Wmw.xxMefkG/xzA/Dw0g0L0MDvPe\n"
"""The password's bcrypt hash, which is all that `docker-registry` takes (distribution, "htpasswd")."""
_CONFIG = """\
version: 0.1
log: {{accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: "{root}/data"}}}}
{auth}
http: {{addr: "{host}:{port}"{tls}}}
"""
_PASSWORDS = 'auth: {{htpasswd: {{realm: fleet, path: "{root}/htpasswd"}}}}'
_TOKENS = 'auth: {{token: {{realm: "{realm}", service: "{service}", issuer: "{issuer}", rootcertbundle: "{ca}"}}}}'
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Image(msgspec.Struct, frozen=True):
    """An image that runs, and that no engine has: its parts as a registry serves them, by their digests."""

    manifest: bytes
    config: bytes
    layer: bytes

    @classmethod
    def new(cls) -> Image:
        """Busybox with a page that no other image has."""
        with tarfile.open(fileobj=io.BytesIO(busybox_archive(page=secrets.token_bytes(32)))) as archive:
            files = {
                member.name: file.read() for member in archive.getmembers() if (file := archive.extractfile(member))
            }
        (told,) = json.loads(files["manifest.json"])
        config, layer = files[told["Config"]], gzip.compress(files[told["Layers"][0]], 1, mtime=0)
        kinds = ("container.image.v1+json", "image.rootfs.diff.tar.gzip")
        parts = [
            {"mediaType": f"application/vnd.docker.{kind}", "size": len(data), "digest": digest(data)}
            for kind, data in zip(kinds, (config, layer), strict=True)
        ]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}
        return cls(json.dumps(manifest).encode(), config, layer)


def digest(data: bytes) -> str:
    """As registries name content (OCI image specification, "Digests")."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Place(msgspec.Struct, frozen=True):
    """Where a registry listens, and PEM files: its certificate, its key and who signed it. Without these it has no TLS.

    Engines speak HTTP with registries at 127.0.0.0/8 alone (dockerd, "Insecure registries").
    """

    host: str = "127.0.0.1"
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    @classmethod
    def below(cls, authority: Authority, host: str = "127.0.0.1") -> Place:
        """With a certificate for this host."""
        return cls(host, *authority.issue("registry", hosts=(host,)), authority.certificate)


class Tokens(msgspec.Struct, frozen=True):
    """Where a registry says that its tokens come from, and which it takes: signed below the authority `ca`."""

    realm: str
    service: str
    issuer: str
    ca: Path


class PrivateRegistry:
    """Debian's `docker-registry`, which asks everybody for the password."""

    def __init__(self, address: str, ca: Path | None, log: Path) -> None:
        """Without `ca` (PEM), it is asked over HTTP."""
        self.address, self.ca, self._log = address, ca, log

    def push(self, repository: str) -> str:
        """Put an image there that no engine has; returns its name.

        Raises:
            HarnessError: the registry does not take it.
        """
        image = Image.new()
        with self._client() as client:
            for blob in (image.config, image.layer):
                place = httpx.URL(client.post(f"/v2/{repository}/blobs/uploads/").headers["location"])
                self._put(client, place.copy_add_param("digest", digest(blob)), blob, "application/octet-stream")
            self._put(client, httpx.URL(f"/v2/{repository}/manifests/1"), image.manifest, MANIFEST)
        return f"{self.address}/{repository}:1"

    def _put(self, client: httpx.Client, place: httpx.URL, content: bytes, kind: str) -> None:
        done = client.put(place, content=content, headers={"content-type": kind})
        if done.status_code != 201:
            raise HarnessError(f"the registry does not take an image: {done.text}", next_step=f"see {self._log}")

    def asked_for(self, repository: str) -> int:
        """How often somebody asked for its manifests."""
        return self._log.read_text().count(f"/v2/{repository}/manifests/1 ")

    def _client(self) -> httpx.Client:
        scheme = "http" if self.ca is None else "https"
        # What httpx trusts takes 30 ms to load, and is not wanted here.
        context = False if self.ca is None else ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(
            base_url=f"{scheme}://{self.address}", verify=context, auth=(USER, PASSWORD), trust_env=False
        )


@contextlib.contextmanager
def private_registry(
    root: Path, place: Place | None = None, tokens: Tokens | None = None, *, is_open: bool = False
) -> Generator[PrivateRegistry]:
    """One on an address of this machine, with its data below `root`; with `tokens`, it takes these and no password.

    One that `is_open` asks nobody for anything.

    Raises:
        BinaryMissing: `docker-registry` is not installed.
        HarnessError: it did not start.
    """
    program = shutil.which("docker-registry")
    if program is None:
        raise BinaryMissing("docker-registry is not installed", next_step="apt-get install docker-registry")
    place = place or Place()
    host = place.host
    ports = Ports.acquire()
    try:
        port = ports.take()
        tls = f', tls: {{certificate: "{place.certificate}", key: "{place.key}"}}' if place.ca else ""
        (root / "htpasswd").write_text(_HTPASSWD)
        auth = _TOKENS.format(**msgspec.structs.asdict(tokens)) if tokens else _PASSWORDS.format(root=root)
        auth = "" if is_open else auth
        (root / "config.yml").write_text(_CONFIG.format(root=root, host=host, port=port, tls=tls, auth=auth))
        argv, log = [program, "serve", str(root / "config.yml")], root / "registry.log"
        with running(argv, name="docker-registry", log=log, ready=lambda: port_answers(port, host)):
            yield PrivateRegistry(f"{host}:{port}", place.ca, log)
    finally:
        ports.release()
