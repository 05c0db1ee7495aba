"""Bundles of certificates, and the ids by which every part names one."""

from __future__ import annotations

import pytest

from fleet.contract.certificates import certificate_id, certificate_ids, certificates, ends_of, joined
from fleet.contract.errors import InvalidInput
from fleet.install.tls import ends, new_authority, new_key

ONE, TWO = (new_authority(new_key(), name).decode() for name in ("one", "two"))


def test_a_bundle_is_taken_apart_whatever_stands_between() -> None:
    bundle = f"# ours\r\n{ONE.replace(chr(10), chr(13) + chr(10))}theirs:\n{TWO.rstrip()}"
    assert certificate_ids(bundle) == (certificate_id(ONE), certificate_id(TWO))
    assert len(certificates(bundle)) == 2


def test_the_order_of_a_bundle_tells_nothing() -> None:
    assert joined([ONE, TWO]) == joined([TWO, ONE, TWO])
    assert set(certificates(joined([ONE, TWO]))) == {ONE, TWO}
    assert joined([ONE]) == ONE


def test_when_each_certificate_of_a_bundle_ends() -> None:
    assert ends_of(joined([ONE, TWO])) == {certificate_id(one): ends(one.encode()).timestamp() for one in (ONE, TWO)}


@pytest.mark.parametrize("text", ["", "no certificate", ONE[:-30]], ids=["empty", "another text", "cut short"])
def test_what_holds_no_certificate_has_none(text: str) -> None:
    assert certificates(text) == ()


def test_a_damaged_certificate_is_named() -> None:
    with pytest.raises(InvalidInput, match="not a PEM certificate"):
        certificate_id("-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----")
