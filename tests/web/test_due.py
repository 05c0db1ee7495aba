"""What ends or is due before long: certificates, and passwords and keys by their age."""

from __future__ import annotations

import html

import httpx
import pytest

from fleet.contract.config import SecretAge
from fleet.rotation.catalogue import SECRETS
from fleet.web.source import KUBERNETES, NATS, PROVIDER
from fleet.web.views.due import AUTHORITY, PAGE, Due, due
from tests.support.web import RunningPage, device
from tests.web.test_commands import parsed

DAY = 86_400
NOW = 1_800_000_000


def named(*ages: SecretAge, certificates: dict[str, float] | None = None) -> list[Due]:
    return list(due(certificates or {}, ages, NOW, "fleet-system"))


@pytest.mark.parametrize(("age", "shown"), [(334, []), (336, [False]), (364, [False]), (366, [True])])
def test_a_password_is_due_after_a_year_and_is_shown_a_month_before(age: int, shown: list[bool]) -> None:
    found = named(SecretAge("nats_app_pass", NOW - age * DAY))
    assert [one.over for one in found] == shown
    assert all(one.command == "fleet secrets rotate nats_app_pass" for one in found)


def test_a_key_is_due_long_before_its_certificate_ends() -> None:
    (found,) = named(SecretAge("nats_tls_key", NOW - 10 * DAY, NOW + 89 * DAY))
    assert (found.over, found.ends, found.what) == (True, False, "key of NATS' certificate")
    (unknown,) = named(SecretAge("nats_tls_key", 0, NOW + 89 * DAY))
    assert unknown.made == ""
    assert named(SecretAge("nats_tls_key", NOW - 10 * DAY, NOW + 150 * DAY)) == []


def test_what_cannot_be_rotated_or_is_not_known_is_not_due() -> None:
    assert (
        named(SecretAge("zitadel_master_key", 1), SecretAge("of_a_newer_release", 1), SecretAge("nats_app_pass")) == []
    )


def test_a_key_whose_certificate_is_named_is_not_named_twice() -> None:
    found = named(SecretAge("nats_tls_key", 1, NOW + DAY), certificates={NATS: NOW + DAY})
    assert [(one.name, one.ends) for one in found] == [(NATS, True)]


def test_the_first_to_end_is_named_first() -> None:
    found = named(
        SecretAge("nats_app_pass", NOW - 370 * DAY),
        SecretAge("web_tls_key", NOW - 380 * DAY, NOW + 400 * DAY),
        certificates={KUBERNETES: NOW + DAY, PROVIDER: NOW - 10 * DAY},
    )
    assert [one.name for one in found] == ["web_tls_key", PROVIDER, "nats_app_pass", KUBERNETES]


def test_the_command_line_takes_every_command() -> None:
    ages = [SecretAge(one.name, 1) for one in SECRETS]
    ends: dict[str, float] = dict.fromkeys((PAGE, AUTHORITY, NATS, PROVIDER, KUBERNETES), 1.0)
    found = [*due({}, ages, NOW, "elsewhere"), *due(ends, (), NOW, "elsewhere")]
    assert {one.name for one in found} == {one.name for one in SECRETS if one.rotation} | set(ends)
    for one in found:
        if one.name in {PROVIDER, KUBERNETES}:
            assert one.command == ""
        else:
            parsed(one.command)
            assert one.command.endswith(" --namespace elsewhere")


def test_the_first_screen_shows_the_age_the_due_date_and_the_command(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"))
    page.do(lambda: setattr(page.parts.store, "now", lambda: float(NOW)))
    page.do(lambda: setattr(page.parts.store, "secret_ages", (SecretAge("nats_app_pass", NOW - 360 * DAY),)))
    page.do(lambda: page.parts.store.set_certificate_expiry(PROVIDER, NOW + 400 * DAY))
    text = html.unescape(viewer.get("/").text)
    assert "Certificates and keys due" in text
    assert "nats_app_pass <small>password of fleet-app in NATS</small>" in text
    assert "It was made" in text
    assert "2026-01-20" in text, "when it was made"
    assert "It is due" in text
    assert "2027-01-20" in text, "when it is due"
    assert 'data-copy="fleet secrets rotate nats_app_pass"' in text
    assert "Nothing is wrong" not in text
