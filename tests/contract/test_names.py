"""Names exist only when valid: what is accepted, what is refused, and with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.contract.errors import InvalidInput
from fleet.contract.names import AgentVersion, DeploymentName, DeviceId, Digest, TokenSubject

LABELS = ["a", "0", "pi-1", "a" * 63, "1-2-3", "x--y", "xn--80ak6aa92e"]
NOT_LABELS = [
    "",
    "a" * 64,
    "Pi-1",
    "PI",
    "pi.1",
    "pi/1",
    "../etc",
    "pi*",
    "*",
    ">",
    "pi.>",
    "pi 1",
    " pi",
    "pi\n",
    "pi\t",
    "pí",
    "пи",
    "\uff11",
    "pi\u0000",
    "-pi",
    "pi-",
    "-",
    "pi_1",
    "pi@1",
    "$SYS",
    "pi\u200b",
]


@pytest.mark.parametrize("kind", [DeviceId, DeploymentName])
@pytest.mark.parametrize("text", LABELS)
def test_labels(kind: type[DeviceId | DeploymentName], text: str) -> None:
    assert kind(text) == text


@pytest.mark.parametrize("kind", [DeviceId, DeploymentName])
@pytest.mark.parametrize("text", NOT_LABELS)
def test_what_is_no_label(kind: type[DeviceId | DeploymentName], text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        kind(text)
    assert repr(text)[1:40] in error.value.what, "it shows what was given"
    assert "RFC 1123" in error.value.next_step, "and says what is wanted"
    assert error.value.exit_code == 2


@given(st.text(max_size=80))
def test_a_device_id_is_one_subject_token_or_does_not_exist(text: str) -> None:
    try:
        DeviceId(text)
    except InvalidInput:
        return
    assert 1 <= len(text) <= 63
    assert text.isascii()
    assert not set(text) & set(" .*>$/\\\r\n\t\0")


def test_a_long_name_is_shown_in_part() -> None:
    with pytest.raises(InvalidInput) as error:
        DeviceId("x" * 1_000_000)
    assert len(error.value.what) < 200


@pytest.mark.parametrize("text", ["v0.0.0", "v1.2.3", "v10.20.30", "v1.0.0-rc.1", "v1.0.0+build.7", "v1.0.0-a-b.0+x-y"])
def test_versions(text: str) -> None:
    assert AgentVersion(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3",
        "v1",
        "v1.2",
        "v01.2.3",
        "v1.2.3-",
        "v1.2.3-01",
        "v1.2.3+",
        "v1.2.3 ",
        "V1.2.3",
        "v1.2.3\n",
        "latest",
    ],
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(InvalidInput, match="agent version"):
        AgentVersion(text)


def test_digests() -> None:
    assert Digest("sha256:" + "0a" * 32)
    for text in (
        "",
        "0a" * 32,
        "sha256:" + "0A" * 32,
        "sha256:" + "0a" * 31,
        "sha512:" + "0a" * 32,
        "sha256:" + "zz" * 32,
    ):
        with pytest.raises(InvalidInput, match="digest"):
            Digest(text)


def test_token_subjects() -> None:
    for text in ("274001", "a", "A_b-9", "x" * 128):
        assert TokenSubject(text) == text
    for text in ("", "x" * 129, "a.b", "a b", "*", ">", "a/b", "é", "a\n"):
        with pytest.raises(InvalidInput, match="token subject"):
            TokenSubject(text)
