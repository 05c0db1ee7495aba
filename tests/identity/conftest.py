from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.identity.zitadel import Zitadel
from tests.doubles.zitadel.idp import Device, Idp, double_at, healthy


@pytest.fixture(scope="session")
def _one_double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    with double_at(tmp_path_factory.mktemp("zitadel")) as idp:
        yield idp


@pytest.fixture
def idp(_one_double: Idp) -> Iterator[Idp]:
    """The Zitadel double, healthy at the beginning of each test."""
    healthy(_one_double)
    yield _one_double
    healthy(_one_double)


@pytest.fixture(scope="session")
def project(_one_double: Idp) -> str:
    """A project with the role `device`."""
    return _one_double.project()


@pytest.fixture(scope="session")
def device(_one_double: Idp, project: str) -> Device:
    """An enrolled device that nothing happens to."""
    return _one_double.device(project)


@pytest.fixture
def zitadel(idp: Idp) -> Iterator[Zitadel]:
    """The management client, as an admin, with little patience for projections."""
    with Zitadel(idp.issuer, idp.ca, idp.admin_token, catch_up=2) as client:
        yield client
