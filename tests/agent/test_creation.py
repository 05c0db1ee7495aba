"""Whatever a workload can hold, an engine can be asked for it: the request is made, and JSON carries it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given

from fleet.agent.creation import creation, registry_auth
from fleet.contract.confinement import ResourceLimits
from fleet.contract.containers import spec_hash
from fleet.contract.sealed import RegistryLogin
from fleet.contract.wire import Container
from tests.contract.anything import values_of

NANOSECONDS = 2**63
"""The engine's integers of a health check (Docker Engine API, HealthConfig) are of 64 bits."""


@given(values_of(Container))
def test_every_workload_becomes_a_request(workload: Container) -> None:
    body = json.loads(json.dumps(creation(workload, {"spec": spec_hash(workload)})))
    assert body["Image"] == workload.image
    assert len(body["HostConfig"]["PortBindings"]) <= len(workload.ports)
    for name in ("Interval", "Timeout", "StartPeriod"):
        assert 0 <= body.get("Healthcheck", {}).get(name, 0) < NANOSECONDS
    assert bool(body["HostConfig"].get("NanoCpus")) is bool(workload.limits.cpus)


@pytest.mark.parametrize(("cpus", "told"), [(0, 0), (1e-10, 1), (0.29, 290_000_000), (1.5, 1_500_000_000)])
def test_a_limit_that_is_nearly_nothing_is_not_none(cpus: float, told: int) -> None:
    workload = Container(image="web", limits=ResourceLimits(cpus=cpus))
    body = json.loads(json.dumps(creation(workload, {})))
    assert body["HostConfig"].get("NanoCpus", 0) == told


@pytest.mark.parametrize(
    ("login", "told"),
    [
        (RegistryLogin("u", "p?", "r"), {"username": "u", "password": "p?", "serveraddress": "r"}),
        (
            RegistryLogin("", "", "r", "secret", "t"),
            {"username": "", "password": "", "serveraddress": "r", "identitytoken": "t"},
        ),
    ],
)
def test_a_login_as_the_engine_takes_it(login: RegistryLogin, told: dict[str, str]) -> None:
    """Docker Engine API, "Authentication": base64 for URLs."""
    assert json.loads(base64.urlsafe_b64decode(registry_auth(login))) == told
