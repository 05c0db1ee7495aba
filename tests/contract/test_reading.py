"""A file that a person named and that has no end, such as `/dev/zero`, is refused before it fills the memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.artifacts.keys import ReleaseKey
from fleet.contract.config import MAX_READ, AgentConfig, load_config, read_whole
from fleet.contract.errors import FleetError
from fleet.install.first_agent import load_trusted
from fleet.install.setup import load_policy
from fleet.topology.admin import read_token

READERS: dict[str, Callable[[Path], object]] = {
    "a configuration": lambda path: load_config(path, AgentConfig),
    "a token": read_token,
    "a release key": ReleaseKey.load,
    "the keys that devices trust": load_trusted,
    "a policy": load_policy,
}


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Sparse, so that it takes no room."""
    path = tmp_path / "endless"
    path.touch(0o600)
    with path.open("r+b") as file:
        file.truncate(MAX_READ + 1)
    return path


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_every_reader_refuses_it(endless: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FleetError, match="File too large"):
        read(endless)


def test_no_more_is_read_than_is_allowed(endless: Path) -> None:
    with endless.open("r+b") as file:
        file.truncate(MAX_READ)
    data, status = read_whole(endless)
    assert (len(data), status.st_size) == (MAX_READ, MAX_READ)
    with pytest.raises(OSError, match="File too large"):
        read_whole(Path("/dev/zero"))
