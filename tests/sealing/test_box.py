"""The seal: the one device opens it, for the one deployment, and nobody else anything."""

from __future__ import annotations

import base64

import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.sealed import Contents, RegistryLogin
from fleet.sealing.box import OVERHEAD, digest, new_key, open_sealed, public_half, seal

CANARY = "canary-5c1f"
CONTENTS = Contents({"PASSWORD": CANARY}, {"/key": b"\xff\x00"}, RegistryLogin("u", CANARY, "r.example"))
MINE, OTHERS = new_key(), new_key()


def test_the_device_opens_what_is_sealed_for_it() -> None:
    sealed = seal(CONTENTS, public_half(MINE), "pi-1", "web")
    assert open_sealed(sealed, MINE, "pi-1", "web") == CONTENTS
    assert CANARY.encode() not in sealed
    assert base64.b64encode(CANARY.encode())[:-4] not in sealed
    assert seal(CONTENTS, public_half(MINE), "pi-1", "web") != sealed, "two seals do not tell that they hold the same"


@pytest.mark.parametrize(
    ("key", "device", "deployment"),
    [(OTHERS, "pi-1", "web"), (MINE, "pi-2", "web"), (MINE, "pi-1", "db")],
    ids=["another key", "another device", "another deployment"],
)
def test_nobody_else_opens_it_and_the_refusal_quotes_nothing(key: bytes, device: str, deployment: str) -> None:
    sealed = seal(CONTENTS, public_half(MINE), "pi-1", "web")
    with pytest.raises(InvalidInput) as error:
        open_sealed(sealed, key, device, deployment)
    assert CANARY not in str(error.value)


def test_what_was_changed_does_not_open() -> None:
    sealed = bytearray(seal(CONTENTS, public_half(MINE), "pi-1", "web"))
    for place in (0, 31, OVERHEAD, len(sealed) - 1):
        changed = bytes(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])
        with pytest.raises(InvalidInput):
            open_sealed(changed, MINE, "pi-1", "web")
    for cut in (b"", bytes(sealed[:OVERHEAD]), bytes(sealed[:-1])):
        with pytest.raises(InvalidInput):
            open_sealed(cut, MINE, "pi-1", "web")


def test_what_a_device_says_is_no_key_is_refused_by_its_name() -> None:
    for key in ("", "AAAA", "A" * 43 + "=", "%%"):
        with pytest.raises(InvalidInput, match="pi-1"):
            seal(CONTENTS, key, "pi-1", "web")


def test_the_digest_changes_with_what_the_container_has_and_with_the_key() -> None:
    known = digest(CONTENTS, MINE)
    assert digest(Contents(CONTENTS.env, CONTENTS.files), MINE) == known, "a login is nothing that it has"
    others = (
        digest(CONTENTS, OTHERS),
        digest(Contents({"PASSWORD": "x"}, CONTENTS.files), MINE),
        digest(Contents(CONTENTS.env, {"/key": b"\xff"}), MINE),
        digest(Contents({"PASSWORDS": CANARY}, CONTENTS.files), MINE),
    )
    assert known not in others
