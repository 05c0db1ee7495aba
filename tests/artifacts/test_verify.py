"""What is not taken, and that it says why: each bad input by its own reason."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.manifest import describe, sign
from fleet.artifacts.verify import Machine, Refusal, check_file, check_fits, chunk_digest, open_manifest
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import CHUNK, MAX_ARTIFACT, MAX_MANIFEST, Manifest, TrustedKeys, UpgradeReason
from fleet.contract.wire import encode
from tests.support.agents import HERE, KEY, TARGET, TRUSTED, resigned, signed, small

NOW = time.time()
OTHER = ReleaseKey.new()
DIGEST = chunk_digest(b"any")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return small(tmp_path, b"agent" * CHUNK)[1]


def refused(data: bytes, trusted: TrustedKeys = TRUSTED) -> UpgradeReason:
    with pytest.raises(Refusal) as caught:
        open_manifest(data, trusted, NOW)
    assert caught.value.next_step
    return caught.value.reason


def test_a_good_one_is_taken(manifest: Manifest, tmp_path: Path) -> None:
    assert open_manifest(signed(manifest), TRUSTED, NOW) == manifest
    assert len(manifest.chunks) == 5
    check_fits(manifest, HERE, TRUSTED)
    check_file(tmp_path / "fleet-agent-v9.9.9", manifest)


def test_unsigned(manifest: Manifest) -> None:
    assert refused(encode(replace(sign(manifest, KEY), signature=""))) is UpgradeReason.SIGNATURE_MISSING


def test_signed_by_somebody_else(manifest: Manifest) -> None:
    assert refused(signed(manifest, OTHER)) is UpgradeReason.KEY_UNKNOWN
    forged = replace(sign(manifest, OTHER), key_id=KEY.public.id)
    assert refused(encode(forged)) is UpgradeReason.SIGNATURE_INVALID


@pytest.mark.parametrize("signature", ["A", "%%%", "AAAA", "A" * 86 + "=="])
def test_no_signature_at_all(manifest: Manifest, signature: str) -> None:
    assert refused(encode(replace(sign(manifest, KEY), signature=signature))) is UpgradeReason.SIGNATURE_INVALID


@given(place=st.integers(min_value=0), bit=st.integers(0, 6))
def test_one_flipped_bit(place: int, bit: int) -> None:
    one = sign(Manifest(AgentVersion("v1.0.0"), DIGEST, 3, (DIGEST,)), KEY)
    payload = bytearray(one.payload.encode())
    payload[place % len(payload)] ^= 1 << bit
    assert refused(resigned(one, payload.decode())) is UpgradeReason.SIGNATURE_INVALID


def test_keys_overlap_and_end(manifest: Manifest) -> None:
    both = TrustedKeys((KEY.public, OTHER.public))
    assert open_manifest(signed(manifest), both, NOW) == open_manifest(signed(manifest, OTHER), both, NOW)
    revoked = TrustedKeys((replace(KEY.public, revoked=True), OTHER.public))
    assert refused(signed(manifest), revoked) is UpgradeReason.KEY_REVOKED
    over = TrustedKeys((replace(KEY.public, not_after=NOW - 1),))
    assert refused(signed(manifest), over) is UpgradeReason.ARTIFACT_EXPIRED
    assert open_manifest(signed(manifest), TrustedKeys((replace(KEY.public, not_after=NOW + 9),)), NOW)


def test_expired(manifest: Manifest) -> None:
    assert refused(signed(replace(manifest, not_after=NOW - 1))) is UpgradeReason.ARTIFACT_EXPIRED
    assert open_manifest(signed(replace(manifest, not_after=NOW + 1)), TRUSTED, NOW)


def test_a_listed_key_that_is_none(manifest: Manifest) -> None:
    with pytest.raises(InvalidInput, match="no Ed25519"):
        open_manifest(signed(manifest), TrustedKeys((replace(KEY.public, key="AAAA"),)), NOW)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": MAX_ARTIFACT + 1}, UpgradeReason.ARTIFACT_TOO_LARGE),
        ({"size": 5 * CHUNK + 1}, UpgradeReason.MANIFEST_INVALID),
        ({"chunks": ()}, UpgradeReason.MANIFEST_INVALID),
        ({"size": 0}, UpgradeReason.MANIFEST_INVALID),
        ({"minimum_python": "new"}, UpgradeReason.MANIFEST_INVALID),
    ],
    ids=str,
)
def test_a_form_that_cannot_be(manifest: Manifest, change: dict[str, object], reason: UpgradeReason) -> None:
    assert refused(signed(replace(manifest, **change))) is reason


def test_no_semver(manifest: Manifest) -> None:
    text = encode(manifest).decode().replace("v9.9.9", "latest")
    assert refused(encode(replace(sign(manifest, KEY), payload=text, signature=KEY.sign(text.encode())))) is (
        UpgradeReason.MANIFEST_INVALID
    )


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"null", b"{}", b"[" * 100_000, b"x" * (MAX_MANIFEST + 1)])
def test_no_manifest_at_all(data: bytes) -> None:
    assert refused(data) is UpgradeReason.MANIFEST_INVALID


@given(st.binary())
def test_any_bytes_are_a_refusal(data: bytes) -> None:
    assert refused(data) is UpgradeReason.MANIFEST_INVALID


@given(cut=st.integers(min_value=1))
def test_a_truncated_manifest(cut: int) -> None:
    whole = signed(Manifest(AgentVersion("v1.0.0"), DIGEST, 3, (DIGEST,)))
    assert refused(whole[: -(cut % (len(whole) - 1) + 1)]) is UpgradeReason.MANIFEST_INVALID


@pytest.mark.parametrize(
    ("change", "machine", "reason"),
    [
        ({"architectures": ("s390x",)}, HERE, UpgradeReason.WRONG_ARCHITECTURE),
        ({"minimum_python": "3.99"}, HERE, UpgradeReason.PYTHON_TOO_OLD),
        ({"architectures": ()}, Machine("x", (3, 10)), UpgradeReason.PYTHON_TOO_OLD),
        ({"version": AgentVersion("v1.2.3-rc.1")}, HERE, UpgradeReason.VERSION_TOO_OLD),
    ],
)
def test_what_does_not_fit(
    manifest: Manifest, change: dict[str, object], machine: Machine, reason: UpgradeReason
) -> None:
    trusted = replace(TRUSTED, minimum_version=AgentVersion("v1.2.3"))
    with pytest.raises(Refusal) as caught:
        check_fits(replace(manifest, **change), machine, trusted)
    assert caught.value.reason is reason


@pytest.mark.parametrize("damage", [b"", b"agent", b"agent" * CHUNK + b"!", b"ageNt" + b"agent" * (CHUNK - 1)])
def test_a_damaged_file(manifest: Manifest, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(damage)
    with pytest.raises(Refusal) as caught:
        check_file(path, manifest)
    assert caught.value.reason is UpgradeReason.ARTIFACT_CORRUPT


def test_what_is_not_described(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing"):
        describe(tmp_path / "nothing", AgentVersion("v1.0.0"), TARGET)
    (tmp_path / "empty").touch()
    with pytest.raises(InvalidInput, match="0 bytes"):
        describe(tmp_path / "empty", AgentVersion("v1.0.0"), TARGET)


def test_a_key_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    with pytest.raises(NotFound, match="release"):
        ReleaseKey.load(path)
    path.write_bytes(KEY.render())
    path.chmod(0o644)
    with pytest.raises(InvalidInput, match="0644"):
        ReleaseKey.load(path)
    path.chmod(0o600)
    assert ReleaseKey.load(path).public == KEY.public
    assert KEY.render().decode().strip() not in repr(KEY)
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="no release key"):
        ReleaseKey.load(path)


ORDER = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
NEWER = ["1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]


def test_precedence_is_that_of_the_specification() -> None:
    versions = [AgentVersion(f"v{text}") for text in ORDER + NEWER]
    assert [one for one, next_one in pairwise(versions) if not one.precedence < next_one.precedence] == []
    assert AgentVersion("v1.0.0+a").precedence == AgentVersion("v1.0.0+b").precedence
