"""Opens what is sealed for this device, in a process of its own: what it imports takes 10 MB, and is needed rarely.

`python -m fleet.agent.unseal` reads an `Ask` from standard input and writes an `Answer` to standard output. Nothing
secret is an argument, or is logged.
"""

from __future__ import annotations

import base64
import os
import stat
import sys
from pathlib import Path

import msgspec

from fleet.agent.locked import locked
from fleet.contract.errors import FleetError
from fleet.contract.sealed import Contents, Sealed
from fleet.process.durable import replace_file
from fleet.process.plain_file import NoPlainFileError, open_file
from fleet.process.umask import make_folders


class Ask(msgspec.Struct, frozen=True):
    """What is to be opened, by deployment; with `contents`, they are answered, and else their digests alone."""

    path: str
    device: str
    sealed: dict[str, Sealed] = {}
    contents: bool = False


class Opened(msgspec.Struct, frozen=True):
    """What is in one, or why it does not open."""

    digest: str = ""
    digests: dict[str, str] = {}
    """Of the containers of a pod."""
    contents: Contents | None = None
    problem: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The public half of the device's key, and what was opened. `problem` says why there is no key."""

    key: str = ""
    opened: dict[str, Opened] = {}
    problem: str = ""


def answer(ask: Ask) -> Answer:
    """Open all of it."""
    from fleet.sealing import box  # noqa: PLC0415 - the weight that this process exists for

    def one(deployment: str, sealed: Sealed) -> Opened:
        try:
            contents = box.open_sealed(sealed.data, private, ask.device, deployment)
        except FleetError as error:
            return Opened(problem=error.what)
        parts = {name: box.digest(part, private) for name, part in contents.containers.items()}
        return Opened(box.digest(contents, private), parts, contents if ask.contents else None)

    try:
        private = private_key(Path(ask.path))
    except OSError as error:
        return Answer(problem=f"the sealing key {ask.path} cannot be read or made: {error.strerror or error}")
    return Answer(box.public_half(private), {name: one(name, sealed) for name, sealed in ask.sealed.items()})


def private_key(path: Path) -> bytes:
    """The device's sealing key, which is made if there is no usable one.

    One that is damaged, or that others could read, is replaced: what is sealed is then sealed anew for the new one.

    Raises:
        OSError: it cannot be read, or not be written.
    """
    secret = _read(path)
    if secret is not None:
        return secret
    from fleet.sealing import box  # noqa: PLC0415

    make_folders(path.parent, 0o700)
    with locked(path.parent):  # during an upgrade, a device has two agents
        if _read(path) is None:
            replace_file(path, base64.b64encode(box.new_key()), 0o600)
        created = _read(path)
    if created is None:
        raise OSError(f"{path} is not what was written")
    return created


def _read(path: Path) -> bytes | None:
    """None if it does not exist, is damaged, or is readable by others."""
    from fleet.sealing import box  # noqa: PLC0415

    try:
        with open_file(path) as file:
            open_to_others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077
            private = base64.b64decode(file.read(), validate=True)
    except (FileNotFoundError, NoPlainFileError, ValueError):
        return None
    return private if len(private) == box.KEY_SIZE and not open_to_others else None


if __name__ == "__main__":
    _ask = msgspec.json.decode(sys.stdin.buffer.read(), type=Ask)
    sys.stdout.buffer.write(msgspec.json.encode(answer(_ask)))
