"""Images are unpacked once; every machine gets what came of it, and databases of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.images.server import Archive, pause
from harness.targets.node import store


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(store, "user_cache", lambda: tmp_path / "cache")


def test_it_is_made_once_and_shared_but_for_the_databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pause()
    store.lay_down([image], [tmp_path / "one"])
    monkeypatch.setattr(store, "_make", None)  # nobody may call it
    store.lay_down([image], [tmp_path / "two"])
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert any(path.name == "pause" for path in files), files
    shared = {path for path in files if (tmp_path / "one" / path).samefile(tmp_path / "two" / path)}
    assert {path.suffix for path in files - shared} == {".db"}


def test_what_is_no_image_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no image")
    with pytest.raises(HarnessError, match="containerd does not take no:1 from"):
        store.lay_down([Archive("no:1", tmp_path / "no.tar")], [tmp_path / "one"])
    assert not (tmp_path / "one").exists()
    assert [path.name for path in (tmp_path / "cache/fleet/containerd").iterdir()] == ["lock"]
