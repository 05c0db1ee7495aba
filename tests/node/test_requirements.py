"""A machine that cannot run a node says everything that it lacks, at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import TargetUnavailable
from harness.targets.node import requirements


def test_everything_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(requirements, "search_path", lambda: "/nonexistent")
    with pytest.raises(TargetUnavailable) as caught:
        requirements.check(Path("/var/lib/x"))
    for words in ("needs root", "missing: containerd iproute2 nftables runc util-linux", "/var/lib/x is covered"):
        assert words in caught.value.what
    assert caught.value.next_step.startswith("apt-get install containerd iproute2")


def test_this_machine_is_fit(tmp_path: Path) -> None:
    requirements.check(tmp_path)
