from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.engine.select import double_engine
from tests.agent.stage import Stage
from tests.support.issuer import Issuer
from tests.support.nats import Nats
from tests.support.tls import Tls


@pytest.fixture(scope="module")
def issuer(tls: Tls) -> Iterator[Issuer]:
    """The issuer that the module's callout trusts."""
    server = Issuer(tls)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The engine double's socket."""
    with double_engine() as found:
        yield found.socket


@pytest.fixture
def root() -> Iterator[Path]:
    """A device's root with a short path, for its socket."""
    folder = Path(tempfile.mkdtemp(prefix="fd"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def stage(nats: Nats, issuer: Issuer, engine: str, root: Path) -> Iterator[Stage]:
    """A device of this test's own, before its agent starts; its containers are removed after."""
    stage = Stage(nats, issuer, engine, root)
    yield stage
    stage.close()
