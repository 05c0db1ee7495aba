"""An admin's token where it is: its file, the note beside it, and what the identity provider has."""

from __future__ import annotations

import secrets
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from fleet.contract.config import is_open_to_others
from fleet.contract.errors import Conflict, InvalidInput, NotPermitted
from fleet.contract.wire import decode
from fleet.identity import personal_tokens as tokens
from fleet.identity import zitadel_wire as wire
from fleet.identity.zitadel_api import Api
from fleet.process.durable import replace_file, sync
from fleet.rotation.admin.decide import Seen, Step
from fleet.topology.admin import read_token

_SECRET = 0o600
_CATCH_UP = 60
"""Seconds that the provider may need until it accepts a new token everywhere."""
_NO_END = datetime(9900, 1, 1, tzinfo=UTC)
"""A token that ends later has no end."""


class Note(msgspec.Struct, frozen=True):
    """What is written beside the token's file while it is rotated. It holds secrets.

    Attributes:
        issuer: The provider.
        user: The id of the machine user.
        old: The text of the old token, and `old_id` its id there.
        ends: When the new token ends, in Unix seconds: no other token of this user ends then, so one that was made and
            not noted is found by it.
        new: The text of the new token, and `new_id` its id; empty until it is made.
        made: When that was, in Unix seconds.
        making: When a token was last asked for and not noted since, in Unix seconds; else 0.
        lost: When an earlier one was made that may still be there, in Unix seconds; else 0.
        removing: Whether the old one is to be removed at the provider, written down before it is.
        given_up: Whether the new one is.
    """

    issuer: str
    user: str
    old: str
    old_id: str
    ends: int
    new: str = ""
    new_id: str = ""
    made: int = 0
    making: int = 0
    lost: int = 0
    removing: bool = False
    given_up: bool = False

    def __repr__(self) -> str:
        return f"Note(old_id={self.old_id!r}, new_id={self.new_id!r}, ...)"

    @property
    def unsure(self) -> int:
        """When a token was last made of which only the provider's list tells whether it is there; else 0."""
        return max(self.making, self.lost, self.made if self.given_up else 0)


class Ground:
    """An admin's token, for `fleet.rotation.admin.drive`."""

    def __init__(self, issuer: str, ca: str, file: Path, token_id: str = "") -> None:
        """Contact nobody yet. `token_id` says which token of its user it is, where that has several."""
        self._issuer, self._ca = issuer, ca
        self._file = file.resolve()  # of a link, what it leads to is replaced
        self._token_id = token_id
        self._lasting = ""
        self.ended_with = ""
        """The id of the token in the file, once the rotation has ended."""
        self.note_file = self._file.with_name(f"{self._file.name}.rotation")

    def look(self) -> Seen:
        """What is so now.

        Raises:
            NotFound, InvalidInput: a file cannot be read, or is not what it should be.
            Conflict: the token's file was changed by somebody else.
            NotPermitted: the provider accepts neither token.
            Unreachable: it does not answer.
        """
        kept, note = read_token(self._file), self._note()
        if note is None:
            return Seen(begun=False)
        if kept not in {note.old, note.new}:
            raise Conflict(
                f"{self._file} was changed by somebody else while its rotation was broken off",
                next_step=f"remove the tokens that {self.note_file} names at the identity provider, then that file",
            )
        old_works, new_works = self._works(note.old), self._is_the_same_admin(note)
        if not (old_works or new_works):
            raise NotPermitted(
                f"{self._issuer} accepts neither the token of before nor the new one",
                next_step=f"make another in its console, write it into {self._file}, and remove {self.note_file}",
            )
        # Of two that work, the one that is not about to be removed.
        self._lasting = note.new if new_works and not note.given_up else note.old
        with self._api(self._lasting) as api:
            listed = tokens.listed(api, note.user)
        ours = tuple(token.id for token in listed if int(token.ends.timestamp()) == note.ends)
        return Seen(
            begun=True,
            noted=bool(note.new),
            young=time.time() - note.made < _CATCH_UP,
            stored=kept == note.new,
            removing=note.removing,
            given_up=note.given_up,
            old_works=old_works,
            new_works=new_works,
            old_listed=note.old_id in {token.id for token in listed},
            new_listed=note.new_id in ours,
            orphans=tuple(token for token in ours if token != note.new_id),
            unlisted=time.time() - note.unsure < _CATCH_UP,
        )

    def take(self, step: Step) -> None:
        """Take a step that was decided on the last look; each can be repeated.

        Raises:
            InvalidInput: the token is none that can be rotated.
            FleetError: the provider does not answer or refuses, or a file cannot be written.
        """
        if step is Step.NOTE:
            return self._write(self._begun())
        note = self._note()
        assert note
        if step is Step.ADD:
            self._add(note)
        elif step is Step.SWEEP:
            self._sweep(note)
        elif step is Step.DISCARD:
            forgotten = {"new": "", "new_id": "", "made": 0, "given_up": False, "lost": max(note.lost, note.made)}
            self._write(msgspec.structs.replace(note, **forgotten))
        elif step is Step.STORE:
            self._store(self._file, f"{note.new}\n".encode())
        elif step is Step.RESTORE:
            self._store(self._file, f"{note.old}\n".encode())
        elif step is Step.REMOVE:
            self._write(msgspec.structs.replace(note, removing=True), before=note)
            self._remove(note.new, note.user, note.old_id)
        elif step is Step.GIVE_UP:
            self._write(msgspec.structs.replace(note, given_up=True), before=note)
            self._remove(note.old, note.user, note.new_id)
            self._write(msgspec.structs.replace(note, given_up=True, made=0))
        else:
            self._finish(note)
        return None

    def token_id(self) -> str:
        """The id of the token in the file, where the note tells; empty without one."""
        note = self._note()
        if note is None:
            return ""
        return note.new_id if read_token(self._file) == note.new else note.old_id

    def _begun(self) -> Note:
        """The note of a rotation that begins."""
        old = read_token(self._file)
        with self._api(old) as api:
            api.discover()
            api.call("GET", "/orgs/me", None, wire.Mine)
            user = api.subject()
            chosen = self._chosen(tokens.listed(api, user), user)
        return Note(self._issuer, user, old, chosen.id, _end(chosen, time.time()))

    def _chosen(self, listed: tuple[tokens.PersonalToken, ...], user: str) -> tokens.PersonalToken:
        """Which of the user's tokens is in the file. The provider tells nobody which text belongs to which id."""
        fit = [token for token in listed if self._token_id in {"", token.id}]
        if len(fit) == 1:
            return fit[0]
        if not fit:
            what = f"no access token {self._token_id}" if self._token_id else "no personal access token"
            raise InvalidInput(
                f"{self._issuer} lists {what} of the user {user}, to whom the token in {self._file} belongs",
                next_step="save a personal access token of a service user there; or correct --token-id",
            )
        raise InvalidInput(
            f"the user {user} has {len(fit)} access tokens, and only a person knows which is in {self._file}",
            next_step="say it with --token-id",
            more=[f"{token.id}: made {_day(token.made)}, ends {_day(token.ends)}" for token in fit],
        )

    def _add(self, note: Note) -> None:
        note = msgspec.structs.replace(note, making=int(time.time()), lost=max(note.making, note.lost))
        self._write(note)
        with self._api(note.old) as api:
            added = tokens.add(api, note.user, datetime.fromtimestamp(note.ends, UTC))
        noted = {"new": added.token, "new_id": added.token_id, "made": int(time.time()), "making": 0, "given_up": False}
        self._write(msgspec.structs.replace(note, **noted))

    def _sweep(self, note: Note) -> None:
        with self._api(self._lasting) as api:
            for token in tokens.listed(api, note.user):
                if int(token.ends.timestamp()) == note.ends and token.id != note.new_id:
                    tokens.remove(api, note.user, token.id)

    def _remove(self, by: str, user: str, token_id: str) -> None:
        with self._api(by) as api:
            tokens.remove(api, user, token_id)

    def _works(self, token: str) -> bool:
        with self._api(token) as api:
            return tokens.is_accepted(api)

    def _is_the_same_admin(self, note: Note) -> bool:
        if not note.new:
            return False
        with self._api(note.new) as api:
            try:
                return api.subject() == note.user and tokens.is_admin(api)
            except NotPermitted:
                return False

    def _api(self, token: str) -> closing[Api]:
        return closing(Api(self._issuer, self._ca, token))

    def _note(self) -> Note | None:
        try:
            data, status = self.note_file.read_bytes(), self.note_file.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotPermitted(
                f"cannot read {self.note_file}, the note of the rotation: {error.strerror}",
                next_step="mend it, then repeat",
            ) from error
        if is_open_to_others(status):
            raise InvalidInput(f"others can read {self.note_file}, and it holds secrets", next_step="chmod 600 it")
        note = decode(data, Note)
        if note.issuer != self._issuer:
            raise Conflict(
                f"{self.note_file} is of a rotation at {note.issuer}, not at {self._issuer}",
                next_step="repeat the command for the server that it was begun with",
            )
        if self._token_id in {"", note.old_id}:
            return note
        if self._token_id == note.new_id:
            raise InvalidInput(f"{note.new_id} is the new token", next_step="name the old one with --token-id")
        return msgspec.structs.replace(note, old_id=self._token_id)

    def _write(self, note: Note, before: Note | None = None) -> None:
        if note != before:
            self._store(self.note_file, msgspec.json.encode(note))

    def _store(self, file: Path, data: bytes) -> None:
        try:
            replace_file(file, data, _SECRET)
        except OSError as error:
            raise _cannot_write(file, error) from error

    def _finish(self, note: Note) -> None:
        self.ended_with = note.new_id if read_token(self._file) == note.new else note.old_id
        try:
            self.note_file.unlink(missing_ok=True)
            sync(self.note_file.parent)
        except OSError as error:
            raise _cannot_write(self.note_file, error) from error


def _cannot_write(path: Path, error: OSError) -> NotPermitted:
    what = f"cannot write {path}: {error.strerror}"
    return NotPermitted(what, next_step="mend it, then repeat: it goes on from here")


def _end(old: tokens.PersonalToken, now: float) -> int:
    """When a new token ends, in Unix seconds: it lives as long as the old one, within a share that makes it unique."""
    if old.ends > _NO_END:
        return int(tokens.NEVER.timestamp()) - 1 - secrets.randbelow(10**9)
    lifetime = old.ends - (old.made or datetime.fromtimestamp(now, UTC))
    seconds = max(int(lifetime / timedelta(seconds=1)), 3600)
    return int(now) + seconds - secrets.randbelow(seconds // 24)


def _day(when: datetime | None) -> str:
    return "-" if when is None else "never" if when > _NO_END else f"{when:%Y-%m-%d %H:%M}"
