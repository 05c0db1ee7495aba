from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import pytest

from harness.engine.select import double_engine, podman_engine, real_engine
from tests.engine.lab import Lab

ENGINES = {
    "docker": real_engine,
    "podman": podman_engine,
    "double": double_engine,
    "double-podman": partial(double_engine, "podman"),
}


@pytest.fixture(scope="session", params=list(ENGINES))
def engine_socket(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each engine in turn, with the test image. A real one that cannot be had is an error, never a skip."""
    with ENGINES[request.param]() as found:
        yield found.socket


@pytest.fixture
def lab(engine_socket: str) -> Iterator[Lab]:
    """A label of this test's own on the engine; its containers are removed after."""
    with contextlib.closing(Lab(engine_socket)) as lab:
        yield lab
