"""Secrets as files: one each, mode 0600, in a folder of mode 0700; atomic, and on the disk before anyone uses them.

While a secret is rotated, its other version lies beside it, as `NAME.next` or `NAME.previous`. A step that moves two
files writes the same value under two names in between; such a pair counts as one, so that a crash leaves the versions
before the step or those after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

from fleet.contract.errors import Conflict, InvalidInput, NotPermitted
from fleet.process.durable import sync
from fleet.process.umask import make_folders
from fleet.secrets.store import Change, Kept, changed

_NEXT, _PREVIOUS = ".next", ".previous"


class FileSecretStore:
    """A `SecretStore` in a folder, which is made when it is missing."""

    def __init__(self, folder: Path) -> None:
        """Keep secrets in `folder`.

        Raises:
            NotPermitted: the folder cannot be made.
        """
        try:
            make_folders(folder, 0o700)
        except OSError as error:
            raise NotPermitted(f"cannot make {folder}: {error.strerror}", next_step="choose another folder") from error
        self._folder = folder

    def get(self, name: str) -> bytes | None:
        """The value, or None when it was never made.

        Raises:
            InvalidInput: the file is empty, or others can read it.
            NotPermitted: we cannot.
        """
        path = self._folder / name
        try:
            value = path.read_bytes()
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotPermitted(
                f"cannot read the secret {path}: {error.strerror}", next_step="run as its owner"
            ) from error
        if not value:
            raise InvalidInput(
                f"the secret {path} is empty", next_step="restore it from a backup; it is never made anew"
            )
        if mode & 0o077:
            raise InvalidInput(
                f"the secret {path} has mode {mode:04o}", next_step=f"chmod 600 {path}, and consider it seen"
            )
        return value

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The value; made, written and synced only where there is none. See `SecretStore`."""
        found = self.get(name)
        if found is not None:
            return found
        value = make()
        with self._writing():
            self._write(name, value)
        kept = self.get(name)
        if kept is None:
            raise InvalidInput(f"the secret {name} vanished", next_step=f"see who else writes to {self._folder}")
        return kept

    def versions(self, name: str) -> Kept | None:
        """All versions. See `SecretStore`."""
        with self._locked():
            return self._versions(name)

    def change(self, name: str, seen: Kept, change: Change, value: bytes = b"") -> None:
        """Take a step of a rotation. See `SecretStore`."""
        with self._locked(), self._writing():
            if self._versions(name) != seen:
                raise Conflict(f"the secret {name} has changed meanwhile", next_step="read it again, and decide again")
            changed(seen, change, value)
            following, previous = self._folder / f"{name}{_NEXT}", self._folder / f"{name}{_PREVIOUS}"
            match change:
                case Change.STAGE:
                    following.unlink(missing_ok=True)
                    previous.unlink(missing_ok=True)
                    self._write(following.name, value)
                case Change.PROMOTE:
                    self._swap(name, put=following, keep=previous)
                case Change.DEMOTE:
                    self._swap(name, put=previous, keep=following)
                case Change.RETIRE:
                    previous.unlink()
                case Change.DROP:
                    following.unlink()
            sync(self._folder)

    def clear(self) -> None:
        """Remove every secret. See `SecretStore`.

        Raises:
            NotPermitted: one cannot be removed.
        """
        try:
            for path in self._folder.iterdir():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise NotPermitted(
                f"cannot empty {self._folder}: {error.strerror}", next_step="run as its owner"
            ) from error

    def _versions(self, name: str) -> Kept | None:
        current = self.get(name)
        if current is None:
            return None
        names = (name, f"{name}{_NEXT}", f"{name}{_PREVIOUS}")
        following, previous = self.get(names[1]), self.get(names[2])
        made = datetime.fromtimestamp((self._folder / name).stat().st_mtime, UTC)
        return Kept(
            current,
            # Equal to the current one where a step broke off between its two moves.
            next=None if following == current else following,
            previous=None if previous == current else previous,
            made=made,
            revision=self._revision(names),
        )

    def _revision(self, names: tuple[str, ...]) -> str:
        digest = hashlib.sha256()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                about = (self._folder / name).stat()
                digest.update(f"{name} {about.st_ino} {about.st_ctime_ns}\n".encode())
        return digest.hexdigest()[:16]

    def _swap(self, name: str, *, put: Path, keep: Path) -> None:
        """`put` takes the place of the secret, which stays as `keep`."""
        keep.unlink(missing_ok=True)
        os.link(self._folder / name, keep)
        sync(self._folder)
        put.replace(self._folder / name)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """One step at a time; the system lets go of it when its holder ends."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise NotPermitted(
                f"cannot write a secret to {self._folder}: {error.strerror}", next_step="free or change it"
            ) from error

    def _write(self, name: str, value: bytes) -> None:
        """A new file; a second writer keeps the first one's value."""
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self._folder)  # mode 0600 by its contract
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            try:
                # A link fails where a rename would replace.
                os.link(temporary, self._folder / name)
            except FileExistsError:
                return
        finally:
            Path(temporary).unlink(missing_ok=True)
        sync(self._folder)
