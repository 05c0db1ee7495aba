"""Who holds the lease of rotations and cannot have renewed it takes no further step."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fleet.kube.client import KubeClient
from fleet.rotation import lease
from fleet.rotation.lease import Held, LeaseLost


class Nobody:
    """A cluster without a Lease."""

    def find(self, *_: object) -> None:
        return None

    def create(self, item: dict[str, Any]) -> None:
        assert item["kind"] == "Lease"


def taken() -> Held:
    held = Held(cast("KubeClient", Nobody()), "here", "nats_app_pass")
    held.take()
    held.check()
    return held


def test_a_machine_that_slept_has_lost_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It wakes in the middle of a step, and another rotation may have begun after thirty seconds."""
    held, now = taken(), lease._now()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(lease, "_now", lambda: now + 31)
    with pytest.raises(LeaseLost, match="was not renewed for 30 s"):
        held.check()


def test_a_lease_without_a_spec_is_nobodys() -> None:
    """Kubernetes takes one, and no rotation could begin any more."""
    written: list[object] = []

    class Odd(Nobody):
        def find(self, *_: object) -> Any:  # noqa: ANN401 - a Lease
            return {"metadata": {"resourceVersion": "7"}}

        def patch(self, *given: object) -> None:
            written.append(given[-1])

    kube = cast("KubeClient", Odd())
    lease.require_no_rotation(kube, "here")
    Held(kube, "here", "nats_app_pass").take()
    assert written


def test_a_thread_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end was not seen, and the rotation went on without a lease."""

    def broken(*_: object) -> None:
        raise KeyError("no kubeconfig any more")

    held = taken()
    monkeypatch.setattr(lease, "_SECONDS", 0.03)
    monkeypatch.setattr("fleet.kube.client.KubeClient.__init__", broken)
    held.keep()
    monkeypatch.setattr(lease, "_SECONDS", 30)
    with pytest.raises(LeaseLost, match="no kubeconfig any more"):
        held.check()
