"""The images of a server on an engine of our own, one for the session."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from harness.engine.select import own_engine
from harness.images import server
from harness.images.server import Archive


class Engine:
    """`docker`, on the engine at a socket."""

    def __init__(self, socket: str) -> None:
        self._docker = ["docker", "--host", f"unix://{socket}"]

    def docker(self, *words: str) -> str:
        """What the command prints; it must succeed."""
        done = self.call(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._docker, *words], capture_output=True, text=True, timeout=60, check=False)

    def run(self, image: str, *command: str, user: str = "1000770000:0") -> str:
        """Run a command as Kubernetes would in a restricted namespace, by default as a user that OKD might assign."""
        limits = ("--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges")
        return self.docker("run", "--rm", *limits, "--user", user, image, *command)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with own_engine() as found:
        yield Engine(found.socket)


def _loaded(engine: Engine, archive: Archive) -> str:
    engine.docker("load", "--quiet", "--input", str(archive.path))
    return archive.image


@pytest.fixture(scope="session")
def product(engine: Engine) -> str:
    """The product's image, loaded."""
    return _loaded(engine, server.product())


@pytest.fixture(scope="session")
def nats(engine: Engine) -> str:
    return _loaded(engine, server.nats())


@pytest.fixture(scope="session")
def pause(engine: Engine) -> str:
    return _loaded(engine, server.pause())


@pytest.fixture(scope="session")
def zitadel_double(engine: Engine) -> str:
    return _loaded(engine, server.zitadel_double())
