"""Registries on this machine, with TLS by a private authority: Debian's own with a password, and a scripted one."""

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
import threading
from collections.abc import Generator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import msgspec

from fleet.contract.sealed import RegistryLogin
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
auth: {{htpasswd: {{realm: fleet, path: "{root}/htpasswd"}}}}
http: {{addr: "{host}:{port}", tls: {{certificate: "{certificate}", key: "{key}"}}}}
"""
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Image(msgspec.Struct, frozen=True):
    """An image that runs, and that no engine has: its parts as a registry serves them, by their digests."""

    manifest: bytes
    config: bytes
    layer: bytes

    @classmethod
    def new(cls) -> Image:
        """Busybox with a page that no other image has."""
        with tarfile.open(fileobj=io.BytesIO(busybox_archive(page=secrets.token_bytes(32)))) as archive:
            files = {one.name: found.read() for one in archive.getmembers() if (found := archive.extractfile(one))}
        (told,) = json.loads(files["manifest.json"])
        config, layer = files[told["Config"]], gzip.compress(files[told["Layers"][0]], 1, mtime=0)
        kinds = ("container.image.v1+json", "image.rootfs.diff.tar.gzip")
        parts = [
            {"mediaType": f"application/vnd.docker.{kind}", "size": len(data), "digest": digest(data)}
            for kind, data in zip(kinds, (config, layer), strict=True)
        ]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": parts[0], "layers": parts[1:]}
        return cls(json.dumps(manifest).encode(), config, layer)


def digest(data: bytes) -> str:
    """As registries name content (OCI image specification, "Digests")."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class PrivateRegistry:
    """Debian's `docker-registry`, which asks everybody for the password."""

    def __init__(self, address: str, ca: Path, log: Path) -> None:
        self.address, self.ca, self._log = address, ca, log

    def login(self, password: str = PASSWORD) -> RegistryLogin:
        return RegistryLogin(USER, password, self.address, secret="registry")

    def push(self, repository: str) -> str:
        """Put an image there that no engine has; returns its name."""
        image = Image.new()
        with self._client() as client:
            for blob in (image.config, image.layer):
                place = client.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
                headers = {"content-type": "application/octet-stream"}
                done = client.put(
                    httpx.URL(place).copy_add_param("digest", digest(blob)), content=blob, headers=headers
                )
                assert done.status_code == 201, done.text
            path = f"/v2/{repository}/manifests/1"
            done = client.put(path, content=image.manifest, headers={"content-type": _MANIFEST})
            assert done.status_code == 201, done.text
        return f"{self.address}/{repository}:1"

    def asked_for(self, repository: str) -> int:
        """How often somebody asked for its manifests."""
        return self._log.read_text().count(f"/v2/{repository}/manifests/1 ")

    def _client(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(base_url=f"https://{self.address}", verify=context, auth=(USER, PASSWORD), trust_env=False)


@contextlib.contextmanager
def private_registry(root: Path, host: str, authority: Authority) -> Generator[PrivateRegistry]:
    """One on an address of this machine."""
    program = shutil.which("docker-registry")
    assert program, "apt-get install docker-registry"
    ports = Ports.acquire()
    port = ports.take()
    certificate, key = authority.issue("registry", hosts=(host,))
    (root / "htpasswd").write_text(_HTPASSWD)
    said = _CONFIG.format(root=root, host=host, port=port, certificate=certificate, key=key)
    (root / "config.yml").write_text(said)
    argv, log = [program, "serve", str(root / "config.yml")], root / "registry.log"
    try:
        with running(argv, name="docker-registry", log=log, ready=lambda: port_answers(port, host)):
            yield PrivateRegistry(f"{host}:{port}", authority.certificate, log)
    finally:
        ports.release()


ANSWERS = {
    "unauthorized": 401,
    "denied": 403,
    "manifest_unknown": 404,
    "toomanyrequests": 429,
    "unknown": 500,
    "unavailable": 503,
}
"""Errors that a registry answers, by the first part of an image's path (OCI distribution specification, "Error Codes").

Other first parts are `silent` (no answer), and those of `LAYERS`.
"""
LAYERS = ("stalls", "cut", "other", "slow")
"""Half of a layer, and no more; half of a layer, and the end; a layer with another digest; all of a layer, in seconds.

Each has an image of its own: an engine that fetched the layer of one asks for it never again, whatever its image.
"""

_PIECE, _PAUSE = 64 * 1024, 0.3
"""Bytes, and seconds between two: podman says once a second how far it is."""


class _Scripted(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    images: Mapping[str, Image]
    ended: threading.Event

    def do_GET(self) -> None:
        parts = self.path.split("/")
        script = parts[2] if self.path != "/v2/" else ""
        if script == "silent":
            self.ended.wait()
        elif script in ANSWERS:
            error = {"code": script.upper(), "message": f"the registry says {ANSWERS[script]}"}
            self._answer(ANSWERS[script], json.dumps({"errors": [error]}).encode())
        elif not script:
            self._answer(200, b"{}")
        elif "manifests" in parts:
            self._answer(200, self.images[script].manifest, kind=_MANIFEST)
        elif parts[-1] == digest(self.images[script].config):
            self._answer(200, self.images[script].config)
        else:
            self._layer(script, self.images[script].layer)

    do_HEAD = do_GET  # noqa: N815 - as the library names it

    def _layer(self, script: str, layer: bytes) -> None:
        if script == "other":
            self._answer(200, gzip.compress(b"another"))
            return
        if script == "slow":
            self._answer(200, b"", length=len(layer))
            for start in range(0, len(layer), _PIECE):
                self.wfile.write(layer[start : start + _PIECE])
                self.ended.wait(_PAUSE)
            return
        self._answer(200, layer[: len(layer) // 2], length=len(layer))
        self.close_connection = True
        if script == "stalls":
            self.wfile.flush()
            self.ended.wait()

    def _answer(self, status: int, body: bytes, *, length: int = 0, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status == 429:
            self.send_header("Retry-After", "0")  # podman tries again, for a minute where it is not told
        self.send_header("Content-Length", str(length or len(body)))
        if kind == _MANIFEST:
            self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library names it
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: an engine that gives up closes its connection."""


@contextlib.contextmanager
def scripted_registry(host: str, authority: Authority) -> Generator[str]:
    """A registry that does what the first part of an image's path says; yields its address."""
    handler = type(
        "Handler", (_Scripted,), {"images": {one: Image.new() for one in LAYERS}, "ended": threading.Event()}
    )
    server = _Server((host, 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("scripted", hosts=(host,)))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        handler.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
