"""What is known of Secrets: nobody who mends one, and orders anew, is told what was lacking before."""

from __future__ import annotations

import pytest

from fleet.contract.objects import DeploymentSpec, FleetDeployment, Metadata
from fleet.contract.sealed import FromSecret
from fleet.contract.wire import Container
from fleet.operator.known_secrets import KnownSecrets
from fleet.operator.objects import ObjectCache
from fleet.operator.reconcile.secrets import SecretProblem, SecretSeen

GOOD = SecretSeen("u", "1", "Opaque", True, {"k": b"v"})


def known(*secrets: str) -> tuple[KnownSecrets, list[str]]:
    """What is known where a deployment `web` takes these, and a deployment `db` takes another."""
    cache, changed = ObjectCache[FleetDeployment](), list[str]()
    for name, taken in (("web", secrets), ("db", ("other",))):
        env = {one.upper(): FromSecret(one, "k") for one in taken}
        cache.put(FleetDeployment(Metadata(name, resource_version="1"), DeploymentSpec(Container("a", secret_env=env))))
    return KnownSecrets(cache, changed.append), changed


def test_news_of_a_secret_are_told_to_those_that_take_it() -> None:
    secrets, changed = known("a", "b")
    assert secrets.missing() == {"a", "b", "other"}
    assert secrets.put("a", GOOD)
    assert not secrets.put("a", GOOD)
    assert changed == ["web"]


@pytest.mark.parametrize(
    "found",
    [
        SecretProblem("SecretMissing", "gone"),
        SecretSeen("u", "1", "Opaque", False, {}),
        SecretSeen("u", "1", "Opaque", True, {"x": b"v"}),
    ],
    ids=["gone", "not marked", "without the key"],
)
def test_what_was_lacking_is_read_again_when_the_deployment_changes(found: SecretSeen | SecretProblem) -> None:
    secrets, _ = known("a")
    secrets.put("a", found)
    secrets.put("other", GOOD)
    secrets.doubt("web")
    secrets.doubt("db")
    assert secrets.missing() == {"a"}, "what is as it should be stays known"


def test_what_nobody_takes_any_more_is_forgotten() -> None:
    secrets, _ = known("a")
    secrets.put("a", GOOD)
    secrets.put("gone", GOOD)
    secrets.keep_wanted()
    assert set(secrets.found) == {"a"}
