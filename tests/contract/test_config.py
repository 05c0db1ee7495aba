"""Whose eyes a part's configuration is for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleet.contract.config import OperatorConfig, load_config, render_config
from fleet.contract.errors import InvalidInput
from tests.contract.samples import SAMPLES

CONFIG = SAMPLES["operator-config"]


@pytest.mark.parametrize(
    ("mode", "owner", "good"),
    [
        (0o600, "us", True),
        (0o400, "us", True),
        (0o440, "us", False),
        (0o440, "another", True),
        (0o444, "another", False),
        (0o460, "another", False),
    ],
)
def test_only_its_reader_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owner: str, good: bool
) -> None:
    """A pod's Secret is root's, and its user reads it as a member of the group (Kubernetes, `fsGroup`)."""
    assert isinstance(CONFIG, OperatorConfig)
    path = tmp_path / "operator.json"
    path.write_bytes(render_config(CONFIG))
    path.chmod(mode)
    if owner == "another":
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    if good:
        assert load_config(path, OperatorConfig) == CONFIG
    else:
        with pytest.raises(InvalidInput, match=f"mode {mode:04o}.*secret"):
            load_config(path, OperatorConfig)
