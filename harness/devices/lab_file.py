"""A file of a lab, as a person writes it: `--fleet-lab FILE`, or the `lab` in the description of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.written import Written
from harness.devices.lab import Lab
from harness.errors import TargetUnavailable

_SEE = "see docs/lab.md for an example"
PATHS = ("key", "known_hosts")
"""The fields of a lab that are paths."""


def read_lab(file: Path) -> Lab:
    """The lab that a file describes; a relative path in it starts at the file's folder.

    Raises:
        TargetUnavailable: it cannot be read, has a field that is unknown or twice, a value of another type, or no
            machine; the message names the line.
    """
    try:
        written = Written(file.read_bytes(), f"the lab {file}", next_step=_SEE)
        written.check(Lab)
    except OSError as error:
        raise TargetUnavailable(f"the lab {file} cannot be read: {error}", next_step=_SEE) from error
    except InvalidInput as error:
        raise TargetUnavailable("\n".join([error.what, *error.more]), next_step=_SEE) from error
    if wrong := written.problem(_typed):
        raise TargetUnavailable(f"the lab {file}: {wrong}", next_step=_SEE)
    lab = _typed(anchored(written.value, file.parent, PATHS))
    if not lab.kinds:
        raise TargetUnavailable(f"the lab {file} describes no machine", next_step=_SEE)
    return lab


def anchored(given: object, folder: Path, paths: tuple[str, ...]) -> object:
    """Paths that a file names, in fields of these names, are meant beside it, wherever the tests are started."""

    def at(value: object) -> object:
        return str(folder.absolute() / Path(value).expanduser()) if isinstance(value, str) and value else value

    def walk(value: object, name: str = "") -> object:
        if isinstance(value, dict):
            return {key: walk(member, key) for key, member in cast("dict[str, object]", value).items()}
        return at(value) if name in paths else value

    return walk(given)


def _typed(value: object) -> Lab:
    return msgspec.convert(value, Lab, dec_hook=lambda _, path: Path(path))
