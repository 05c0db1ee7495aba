"""The file that `fleet device enroll` writes: an agent's configuration, which holds a secret."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fleet.contract.config import AgentConfig, load_config, render_config
from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotPermitted
from fleet.contract.names import DeviceId


def check_out(path: Path, device: DeviceId) -> None:
    """Refuse to write over something that is not this device's configuration."""
    if not path.parent.is_dir():
        raise InvalidInput(f"--out {path}: there is no folder {path.parent}", next_step="make it first")
    if not path.exists():
        return
    try:
        mine = load_config(path, AgentConfig).device_id == device
    except FleetError:
        mine = False
    if not mine:
        raise Conflict(f"--out {path} exists, and is not {device}'s configuration", next_step="give another file name")


@contextmanager
def saved(path: Path, config: AgentConfig) -> Generator[None]:
    """The configuration beside its place, and in it once the block has ended well."""
    from fleet.process.durable import replace_file  # noqa: PLC0415

    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        replace_file(partial, render_config(config), 0o600, shared=True)
    except OSError as error:
        raise NotPermitted(
            f"cannot write {path}: {error.strerror}", next_step="free space or choose another file, then enroll again"
        ) from error
    try:
        yield
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
