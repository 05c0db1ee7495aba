from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doubles.zitadel.idp import Device, Idp, double_at, healthy, under_test


@pytest.fixture(scope="session")
def conformant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """What the conformance table is held against: a real Zitadel if the environment names one, else the double."""
    with under_test(tmp_path_factory.mktemp("zitadel")) as idp:
        yield idp


@pytest.fixture(scope="session")
def project(conformant: Idp) -> str:
    """A project with the role `device`."""
    return conformant.project()


@pytest.fixture(scope="session")
def enrolled(conformant: Idp, project: str) -> Device:
    """A device that nothing happens to."""
    return conformant.device(project)


@pytest.fixture(scope="session")
def _one_double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    with double_at(tmp_path_factory.mktemp("double")) as idp:
        yield idp


@pytest.fixture
def double(_one_double: Idp) -> Iterator[Idp]:
    """The double itself, healthy at the beginning of each test."""
    healthy(_one_double)
    yield _one_double
    healthy(_one_double)
