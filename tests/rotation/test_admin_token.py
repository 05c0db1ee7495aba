"""The rotation of an admin's token against the double: another token in the file, and the old one dead."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.contract.errors import Conflict, InvalidInput, NotPermitted, TimedOut
from fleet.identity import personal_tokens as tokens
from fleet.identity.zitadel_api import Api
from fleet.rotation.admin.drive import drive, foretell
from fleet.rotation.admin.ground import Ground
from fleet.rotation.decide import Goal
from tests.doubles.zitadel.idp import Idp, double_at

Json = dict[str, Any]


@pytest.fixture
def idp(tmp_path: Path) -> Iterator[Idp]:
    """A double of its own, for its one admin's token is rotated."""
    with double_at(tmp_path / "zitadel") as double:
        yield double


@pytest.fixture
def file(idp: Idp, tmp_path: Path) -> Path:
    """The admin's token in its file."""
    path = tmp_path / "admin.pat"
    path.touch(0o600)
    path.write_text(f"{idp.admin_token}\n")
    return path


def test_another_token_is_in_the_file_and_the_old_one_is_dead(idp: Idp, file: Path) -> None:
    old = idp.admin_token
    ground = _ground(idp, file)
    said = _forward(ground)
    new = file.read_text().strip()
    assert new != old
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not _accepted(idp, old)
    assert [one.id for one in _listed(idp, new)] == [ground.ended_with]
    assert not ground.note_file.exists()
    assert new not in str(said)
    assert old not in str(said)


def test_a_provider_that_catches_up_late(idp: Idp, file: Path) -> None:
    old = idp.admin_token
    idp.set(lag=1)
    _forward(_ground(idp, file))
    assert not _accepted(idp, old)
    assert len(_listed(idp, file.read_text().strip())) == 1


def test_a_link_is_followed(idp: Idp, file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.pat"
    link.symlink_to(file)
    _forward(_ground(idp, link))
    assert link.is_symlink()
    assert _accepted(idp, file.read_text().strip())


def test_of_several_tokens_a_person_says_which(idp: Idp, file: Path) -> None:
    """The provider does not tell which text belongs to which id; another one's must not be removed."""
    (own,) = _listed(idp, idp.admin_token)
    user = _user(idp, idp.admin_token)
    other = idp.made(f"/users/{user}/pats", {"expirationDate": "2099-01-01T00:00:00Z"})
    with pytest.raises(InvalidInput, match="has 2 access tokens") as raised:
        _forward(_ground(idp, file))
    assert [line.partition(":")[0] for line in raised.value.more] == [own.id, other["tokenId"]]
    with pytest.raises(InvalidInput, match="no access token 5"):
        _forward(_ground(idp, file, "5"))
    assert file.read_text().strip() == idp.admin_token
    _forward(_ground(idp, file, own.id))
    assert _accepted(idp, other["token"])
    assert not _accepted(idp, idp.admin_token)


def test_the_id_of_another_token_is_noticed_and_corrected(idp: Idp, file: Path) -> None:
    (own,) = _listed(idp, idp.admin_token)
    other = idp.made(f"/users/{_user(idp, idp.admin_token)}/pats", {})
    with pytest.raises(TimedOut, match="still accepts the old token"):
        _forward(_ground(idp, file, other["tokenId"]), timeout=0.1)
    _forward(_ground(idp, file, own.id))
    assert not _accepted(idp, idp.admin_token)


def test_the_way_back(idp: Idp, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, ground = idp.admin_token, _ground(idp, file)
    _cut_off_at("remove", ground, monkeypatch)
    with pytest.raises(NotPermitted, match="there is no way back"):
        _back(ground)
    _forward(ground)
    new = file.read_text().strip()
    _cut_off_at("is_admin", ground, monkeypatch)
    _back(ground)
    assert (file.read_text().strip(), len(_listed(idp, new))) == (new, 1)
    assert not _accepted(idp, old)
    assert not _back(ground), "nothing is on its way"


def test_a_file_that_somebody_else_changed(idp: Idp, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = _ground(idp, file)
    _cut_off_at("add", ground, monkeypatch)
    file.write_text("another")
    with pytest.raises(Conflict, match="changed by somebody else"):
        _forward(ground)
    file.write_text(idp.admin_token)
    with pytest.raises(Conflict, match="is of a rotation at"):
        _forward(Ground("https://id.example.org", "", file))
    ground.note_file.chmod(0o644)
    with pytest.raises(InvalidInput, match="others can read"):
        _forward(ground)


def test_a_token_of_nobody(idp: Idp, file: Path) -> None:
    file.write_text("garbage")
    ground = _ground(idp, file)
    with pytest.raises(NotPermitted):
        _forward(ground)
    assert not ground.note_file.exists()


def test_it_is_foretold(idp: Idp, file: Path) -> None:
    ground = _ground(idp, file)
    assert foretell(ground.look(), Goal.FORWARD) == "it would begin here: the rotation is noted beside the file"
    assert foretell(ground.look(), Goal.BACK) == "nothing would be done"
    assert not ground.note_file.exists()


def test_a_new_token_lives_as_long_as_the_old_one(idp: Idp, file: Path) -> None:
    ends = datetime.now(UTC) + timedelta(days=30)
    made = idp.made(f"/users/{_user(idp, idp.admin_token)}/pats", {"expirationDate": ends.isoformat()})
    file.write_text(made["token"])
    _forward(ground := _ground(idp, file, made["tokenId"]))
    new = next(one for one in _listed(idp, idp.admin_token) if one.id == ground.ended_with)
    assert timedelta(days=28) < new.ends - datetime.now(UTC) <= timedelta(days=30)


def _ground(idp: Idp, file: Path, token_id: str = "") -> Ground:
    return Ground(idp.issuer, idp.ca, file, token_id)


def _forward(ground: Ground, timeout: float = 30) -> list[str]:
    said: list[str] = []
    assert drive(ground, Goal.FORWARD, timeout=timeout, progress=said.append, check=lambda: None)
    return said


def _back(ground: Ground) -> bool:
    return drive(ground, Goal.BACK, timeout=30, progress=lambda _: None, check=lambda: None)


def _cut_off_at(call: str, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin, and lose the network at a call to the provider."""

    def lost(*_: object) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as patched:
        patched.setattr(tokens, call, lost)
        with pytest.raises(ConnectionAbortedError):
            _forward(ground)


def _user(idp: Idp, token: str) -> str:
    with closing(Api(idp.issuer, idp.ca, token)) as api:
        return api.subject()


def _listed(idp: Idp, token: str) -> tuple[tokens.PersonalToken, ...]:
    with closing(Api(idp.issuer, idp.ca, token)) as api:
        return tokens.listed(api, api.subject())


def _accepted(idp: Idp, token: str) -> bool:
    with closing(Api(idp.issuer, idp.ca, token)) as api:
        return tokens.is_accepted(api)
