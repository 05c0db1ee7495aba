"""Secrets as files: one each, mode 0600, in a folder of mode 0700; atomic, and on the disk before anyone uses them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.umask import make_folders


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
        try:
            self._publish(name, make())
        except OSError as error:
            raise NotPermitted(
                f"cannot write a secret to {self._folder}: {error.strerror}", next_step="free or change it"
            ) from error
        kept = self.get(name)
        if kept is None:
            raise InvalidInput(f"the secret {name} vanished", next_step=f"see who else writes to {self._folder}")
        return kept

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

    def _publish(self, name: str, value: bytes) -> None:
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self._folder)  # mode 0600 by its contract
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            try:
                # A link fails where a rename would replace: whoever comes second keeps the first one's value.
                os.link(temporary, self._folder / name)
            except FileExistsError:
                return
        finally:
            Path(temporary).unlink(missing_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
