"""Lists of release keys where they are: the owner's files, what the server keeps for devices, and what those report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fleet.agent.locked import locked
from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.trusted import is_list, newest, number_of, render, sign_keys
from fleet.contract.buckets import APP_USER, DEVICE_INFO, RELEASE_KEYS, TRUST_KEY
from fleet.contract.errors import Conflict, InvalidInput, NotPermitted
from fleet.contract.release_keys import HeldKeys, OfferedKeys, SignedKeys
from fleet.contract.upgrade import TrustedKeys
from fleet.contract.versions import digest_of
from fleet.contract.wire import DeviceInfo, decode
from fleet.install.first_agent import load_trusted
from fleet.install.secrets import APP_PASSWORD
from fleet.nats.bus import BadEntry, Bus, Entry
from fleet.process.durable import replace_file
from fleet.rotation.ground import Installed
from fleet.rotation.release.decide import Seen, Step, following, signed_by, surplus

_SECRET, _PUBLIC = 0o600, 0o644


class KeyFiles(msgspec.Struct, frozen=True):
    """The files of the owner: the key of now, the one that is to follow it, and the list for devices."""

    old: Path
    new: Path
    trusted: Path


class _Said(msgspec.Struct, frozen=True):
    """What NATS has: what devices report, and the lists that are kept for them, with their revision."""

    infos: Mapping[str, Entry[DeviceInfo] | BadEntry]
    lists: tuple[SignedKeys, ...]
    revision: int


class Ground:
    """The release key of the devices of a server, for `fleet.rotation.release.drive`."""

    def __init__(self, installed: Installed, files: KeyFiles, *, writes: bool) -> None:
        """Read the files, and contact nobody yet. Without `writes` it can only be looked at.

        A new key that is not there yet is made, and written once it is about to be listed.

        Raises:
            NotFound, InvalidInput: one is not there, or is not what it should be, or the keys are one.
        """
        self._installed = installed
        self._files = files
        self._old = ReleaseKey.load(files.old)
        self._new = ReleaseKey.load(files.new) if files.new.exists() else ReleaseKey.new()
        self._writes = writes
        self._said = _Said({}, (), 0)
        self._seen: Seen | None = None
        self.old, self.new = self._old.public.id, self._new.public.id
        load_trusted(files.trusted)
        if self.old == self.new:
            raise InvalidInput(
                f"--key and --out hold the same key, {self.old}", next_step="name another file with --out"
            )

    def look(self) -> Seen:
        """What is in use now; later lists of the server that the owner's proves are written to the owner's file.

        Raises:
            Conflict: the server keeps a later list that the owner's does not prove.
            FleetError: NATS does not answer, or a file cannot be read or written.
        """
        self._said = self._installed.run(APP_PASSWORD, APP_USER, _said)
        now = time.time()
        present = self._caught_up(now)
        awaited, left = self._installed.awaited_and_left()
        self._seen = Seen(
            present,
            digest_of(render(present)),
            tuple((number_of(one), digest_of(one.payload.encode())) for one in self._said.lists),
            {name: self._held(name) for name in awaited},
            {name: self._held(name) for name in left},
            now,
            {name: words for name in awaited if (words := self._heard(name))},
        )
        return self._seen

    def take(self, step: Step) -> None:
        """Take a step that was decided on the last look.

        What is signed is in the owner's file before anybody else has it, so no number is given to two lists: a command
        that is killed then, or a server that loses the list, leaves one that is signed anew.

        Raises:
            Conflict: the owner's file or the server's lists changed since then.
            FleetError: NATS does not answer, or a file cannot be written.
        """
        assert self._seen
        if step is Step.TIDY:
            gone = surplus(self._seen)
            lists = tuple(one for one in self._said.lists if number_of(one) not in gone)
        else:
            lists = (*self._said.lists, self._sign(self._seen, step))
        revision = self._said.revision
        self._installed.run(
            APP_PASSWORD,
            APP_USER,
            lambda bus: bus.kv(RELEASE_KEYS).update(TRUST_KEY, OfferedKeys(lists), revision=revision),
        )

    def _sign(self, seen: Seen, step: Step) -> SignedKeys:
        """Sign the list of a step, and write it into the owner's file."""
        if not self._files.new.exists():
            _write(self._files.new, self._new.render(), _SECRET)
        signer = self._new if signed_by(seen, step, self.old, self.new) == self.new else self._old
        signed = sign_keys(following(seen, step, self.old, self._new.public), signer)
        with locked(self._files.trusted.absolute().parent):
            if load_trusted(self._files.trusted) != seen.present:
                raise Conflict(f"{self._files.trusted} changed in between", next_step="repeat the command: it goes on")
            _write(self._files.trusted, signed.payload.encode(), _PUBLIC)
        return signed

    def _caught_up(self, now: float) -> TrustedKeys:
        """The owner's list, once it has followed what the server has of later ones."""
        with locked(self._files.trusted.absolute().parent):
            present = load_trusted(self._files.trusted)
            reached, why = newest(present, self._said.lists, now)
            if reached is not None and self._writes:
                _write(self._files.trusted, reached.payload.encode(), _PUBLIC)
        if why:
            raise Conflict(
                f"the server offers a list that {self._files.trusted} does not lead to: {why}",
                next_step="give the list as it was after the last rotation; if this is that, somebody else has written "
                "to the server: see docs/operations.md, Follow a release key by another one",
            )
        return present if reached is None else decode(reached.payload.encode(), TrustedKeys)

    def _held(self, name: str) -> HeldKeys | None:
        info = self._said.infos.get(name)
        return info.value.release_keys if isinstance(info, Entry) else None

    def _heard(self, name: str) -> str:
        info = self._said.infos.get(name)
        if not isinstance(info, Entry):
            return ""
        when = datetime.fromtimestamp(info.stored, UTC)
        return f"its agent {info.value.agent_version} reported last at {when:%Y-%m-%dT%H:%M:%SZ}"


async def _said(bus: Bus) -> _Said:
    """Devices first, so that none has a list that was offered after we looked."""
    infos = {entry.key: entry for entry in await bus.kv(DEVICE_INFO).read_all()}
    offered = await bus.kv(RELEASE_KEYS).get(TRUST_KEY)
    if offered is None:
        return _Said(infos, (), 0)
    lists = offered.value.lists if isinstance(offered, Entry) else ()
    return _Said(infos, tuple(one for one in lists if is_list(one)), offered.revision)


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        replace_file(path, data, mode, shared=True)
    except OSError as error:
        raise NotPermitted(
            f"cannot write {path}: {error.strerror}", next_step="free space or choose another file; then repeat"
        ) from error
