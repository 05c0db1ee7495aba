"""The container engine of a run: one that is given, one that answers, one of our own, or else the double."""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path

import msgspec

from fleet.contract.config import ENGINE_SOCKET
from harness.engine import dockerd, podman
from harness.engine.client import EngineClient, trusting
from harness.errors import EngineUnavailable, Unanswered
from harness.images import IMAGE, busybox_archive
from harness.images.private_registry import Place
from harness.processes.spawn import running
from harness.targets.certificates import Authority
from harness.world import folders

VARIABLE = "FLEET_ENGINE_SOCKET"
"""Names the socket of the engine to use, or one of our own: `double`, `double-podman` (with podman's manners), `own` (a
Docker daemon) or `podman`."""
_OWN = "own"


class FoundEngine(msgspec.Struct, frozen=True):
    """An engine that answers and holds the test image: its socket's path, and what it is in words for the report.

    `image_registry` is where a private registry can listen for it: with TLS, if the engine trusts an authority of ours.
    """

    socket: str
    name: str
    image_registry: Place = Place()


@contextlib.contextmanager
def engine(environ: Mapping[str, str] = os.environ) -> Generator[FoundEngine]:
    """An engine with the test image, the double where no real one can be had; what was started ends after the `with`.

    Raises:
        EngineUnavailable: the one that was asked for does not answer, or cannot run here.
    """
    choice = environ.get(VARIABLE, "")
    there = _answering(environ) if not choice else None
    name = choice or ("double" if dockerd.why_not() is not None else _OWN)
    kind = _OF_OUR_OWN.get(name) if there is None else None
    with contextlib.ExitStack() as cleanup:
        if kind is None:
            yield cleanup.enter_context(real_engine(environ))
            return
        folder = cleanup.enter_context(_folder())
        authority = Authority(folder)
        found = cleanup.enter_context(kind(trusts=_with_the_machines(authority.certificate, folder)))
        yield msgspec.structs.replace(found, image_registry=Place.below(authority, _registry_host(found)))


def _with_the_machines(certificate: Path, folder: Path) -> Path:
    """A file with this certificate and those that the machine trusts, for a program that trusts one file alone."""
    system_bundle = ssl.get_default_verify_paths().cafile
    both = folder / "trusted.pem"
    both.write_bytes(certificate.read_bytes() + (Path(system_bundle).read_bytes() if system_bundle else b""))
    return both


def _registry_host(found: FoundEngine) -> str:
    """Where a registry listens so that the engine checks its certificate: dockerd checks none at 127.0.0.0/8."""
    if any(word in found.name.lower() for word in ("podman", "double")):
        return "127.0.0.1"
    with contextlib.closing(EngineClient(found.socket)) as client:
        return client.call("GET", "/networks/bridge").json()["IPAM"]["Config"][0]["Gateway"]


@contextlib.contextmanager
def real_engine(environ: Mapping[str, str] = os.environ) -> Generator[FoundEngine]:
    """The engine that the variable names, one that answers, or a daemon of our own.

    Raises:
        EngineUnavailable: there is none, and none can be started; the message says what to install.
    """
    choice = environ.get(VARIABLE, "")
    there = _answering(environ) if not choice else None
    if choice not in {"", *_OF_OUR_OWN}:
        yield _given(choice)
    elif there is not None:
        yield _prepared(there, "")
    else:
        with own_engine() as found:
            yield found


@contextlib.contextmanager
def own_engine(trusts: Path | None = None, mirror: str = "") -> Generator[FoundEngine]:
    """A Docker daemon of our own; `trusts` and `mirror` as for `dockerd`.

    Raises:
        EngineUnavailable: it cannot run here; the message says what to install.
    """
    with _folder() as root, dockerd.dockerd(root, trusts, mirror) as socket:
        yield _prepared(str(socket), ", started for this run")


@contextlib.contextmanager
def podman_engine(trusts: Path | None = None, registries: Path | None = None) -> Generator[FoundEngine]:
    """Debian's podman, of our own; `trusts` and `registries` as for `podman`.

    Raises:
        EngineUnavailable: it cannot run here; the message says what to install.
    """
    with _folder() as root, podman.podman(root, trusts, registries) as socket:
        yield _prepared(str(socket), ", started for this run")


@contextlib.contextmanager
def double_engine(manners: str = "docker", trusts: Path | None = None) -> Generator[FoundEngine]:
    """The engine double, which runs anywhere, with docker's or podman's manners; `trusts` as for `dockerd`."""
    with _folder() as root, running_double(root, manners, trusts) as socket:
        yield _prepared(str(socket), " (a double: containers are plain processes)")


_OF_OUR_OWN = {
    "double": double_engine,
    "double-podman": partial(double_engine, "podman"),
    _OWN: own_engine,
    "podman": podman_engine,
}


@contextlib.contextmanager
def running_double(root: Path, manners: str = "docker", trusts: Path | None = None) -> Generator[Path]:
    """The double with its state below `root`, for the length of a `with`; yields its socket."""
    socket = root / "docker.sock"
    argv = [sys.executable, "-m", "harness.doubles.engine", "--socket", str(socket), "--state", str(root / "state")]
    argv += ["--manners", manners]
    env = {**os.environ, "FLEET_WORLD": str(root), **trusting(trusts)}
    with (
        contextlib.closing(EngineClient(str(socket))) as client,
        running(argv, name="engine double", log=root / "engine.log", ready=lambda: _version(client), env=env),
    ):
        yield socket


@contextlib.contextmanager
def _folder() -> Generator[Path]:
    folders.sweep()
    root, lock = folders.create()
    try:
        yield root
    finally:
        lock.close()
        folders.remove(root)


def _given(socket: str) -> FoundEngine:
    try:
        return _prepared(socket, f", given by {VARIABLE}")
    except Unanswered as error:
        raise EngineUnavailable(error.what, next_step=f"start the engine that {VARIABLE} names, or unset it") from error


def _answering(environ: Mapping[str, str]) -> str | None:
    runtime = environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    for socket in (ENGINE_SOCKET, "/run/podman/podman.sock", f"{runtime}/podman/podman.sock"):
        if Path(socket).exists():
            with contextlib.closing(EngineClient(socket)) as client:
                if _version(client):
                    return socket
    return None


def _version(client: EngineClient) -> str:
    try:
        return client.version()
    except Unanswered:
        return ""


def _prepared(socket: str, origin: str) -> FoundEngine:
    with contextlib.closing(EngineClient(socket)) as client:
        name = client.version()
        if not client.has_image(IMAGE):
            client.load(busybox_archive())
    return FoundEngine(socket, f"{name}{origin}")
