"""The decision itself: pure, and every way in or out of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fleet.callout.decide import CLOCK_LEEWAY, Allow, Claims, Deny, Reason, decide
from fleet.contract.names import DeviceId
from tests.support.callout import active, quarantined, revoked, rotated

NOW = 1_800_000_000.0
GOOD = Claims(
    issuer="https://id.example",
    subject="274001",
    audience=("project", "another"),
    expires=NOW + 60,
    not_before=NOW - 1,
    issued=NOW - 1,
    roles=frozenset({"device"}),
)
REGISTRY = {
    "274001": active("pi-1"),
    "274002": revoked("pi-2"),
    "274003": quarantined("pi-3"),
    "274004": quarantined("pi-4", until=NOW + 1),
    "274005": quarantined("pi-5", until=NOW),
    "274006": rotated("pi-6", after=NOW - 10),
    "274007": rotated("pi-7", after=NOW + 3600),
}


def outcome(**changes: object) -> Allow | Deny:
    claims = msgspec.structs.replace(GOOD, **changes)
    return decide(claims, REGISTRY, issuer="https://id.example", project="project", now=NOW)


def test_who_is_known_and_active_gets_in_until_the_token_expires() -> None:
    assert outcome() == Allow(DeviceId("pi-1"), NOW + 60)


def test_a_quarantine_ends_at_its_time() -> None:
    assert outcome(subject="274005") == Allow(DeviceId("pi-5"), NOW + 60)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "https://id.example/"}, Reason.WRONG_ISSUER),
        ({"audience": ("another",)}, Reason.WRONG_AUDIENCE),
        ({"audience": ()}, Reason.WRONG_AUDIENCE),
        ({"expires": NOW}, Reason.EXPIRED),
        ({"expires": NOW - 10 * 365 * 86400}, Reason.EXPIRED),
        ({"not_before": NOW + CLOCK_LEEWAY + 1}, Reason.NOT_YET_VALID),
        ({"issued": NOW + CLOCK_LEEWAY + 1}, Reason.NOT_YET_VALID),
        ({"roles": frozenset[str]()}, Reason.ROLE_MISSING),
        ({"roles": frozenset({"viewer", "Device"})}, Reason.ROLE_MISSING),
        ({"subject": "274009"}, Reason.NOT_ENROLLED),
        ({"subject": ""}, Reason.NOT_ENROLLED),
        ({"subject": "274002"}, Reason.REVOKED),
        ({"subject": "274003"}, Reason.QUARANTINED),
        ({"subject": "274004"}, Reason.QUARANTINED),
        ({"subject": "274006", "issued": NOW - 11}, Reason.ISSUED_BEFORE_ROTATION),
        ({"subject": "274006", "issued": NOW - 9.5}, Reason.ISSUED_BEFORE_ROTATION),
        ({"subject": "274006", "issued": 0}, Reason.ISSUED_BEFORE_ROTATION),
        ({"subject": "274007", "issued": NOW + 59}, Reason.ISSUED_BEFORE_ROTATION),
    ],
)
def test_anything_wrong_keeps_the_client_out(changes: dict[str, Any], reason: Reason) -> None:
    denied = outcome(**changes)
    assert isinstance(denied, Deny)
    assert denied.reason is reason


def test_a_token_that_was_had_after_a_rotation_lets_in_whatever_our_clock_says() -> None:
    assert outcome(subject="274006", issued=NOW - 9) == Allow(DeviceId("pi-6"), NOW + 60)
    assert outcome(issued=0) == Allow(DeviceId("pi-1"), NOW + 60), "nothing was rotated, and the token does not tell"
    denied = outcome(subject="274006", issued=NOW - 40)
    assert isinstance(denied, Deny)
    assert denied.why.startswith("the token is 30 s older than the device's machine key")


def test_a_clock_that_is_refused_is_told_with_the_difference() -> None:
    assert CLOCK_LEEWAY >= 60
    denied = outcome(issued=NOW + 3600)
    assert isinstance(denied, Deny)
    assert denied.why == "the issuer's clock is 3600 s ahead of this machine's, 60 s are accepted"


def test_a_clock_a_little_behind_the_issuers_is_no_reason() -> None:
    assert isinstance(outcome(issued=NOW + CLOCK_LEEWAY, not_before=NOW + CLOCK_LEEWAY), Allow)
