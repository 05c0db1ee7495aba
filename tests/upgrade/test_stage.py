"""Laying a version down: whole and verified or not there at all, whatever happens in between."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from fleet.agent.upgrade.device import stage as staging
from fleet.agent.upgrade.device.files import tree_digest
from fleet.agent.upgrade.device.space import check_space
from fleet.agent.upgrade.device.stage import stage
from fleet.agent.upgrade.device.version_store import AGENT
from fleet.agent.upgrade.protocol.journal import Release
from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.verify import Refusal
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import TrustedKeys, UpgradeReason
from fleet.contract.wire import encode
from harness.faults.private_mount import tmpfs
from tests.support.agents import KEY, describe_small, signed
from tests.support.child import in_child, killed_at
from tests.upgrade.device import Device, artifact


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def refused(device: Device, release: Release) -> Refusal:
    with pytest.raises(Refusal) as caught:
        stage(device.store, release)
    assert not device.store.home(release.version).exists()
    assert not list(device.store.versions.glob(".*")), "no part of it is left"
    return caught.value


def test_laid_down_it_verifies_and_nothing_else_is_left(device: Device) -> None:
    release = device.has("v1.0.0")
    home = device.store.home(release.version)
    assert device.store.flaw(release) == ""
    assert sorted(path.name for path in home.iterdir()) == [AGENT, f"{AGENT}_00000000", "manifest.json", "verified"]
    assert list(home.rglob("*.pyc")), "it is compiled, so that a read-only device starts as fast"
    assert list(device.store.incoming.iterdir()) == []
    stage(device.store, release)
    assert device.store.flaw(release) == ""


@pytest.mark.parametrize("name", ["var/lib/fleet/desired.json", "var/lib/fleet/agent/journal.json"])
def test_one_that_would_not_understand_the_state_on_disk(device: Device, name: str) -> None:
    (device.root / name).write_text('{"schema":2,"what":"a newer agent knows"}')
    path, manifest = artifact(device.root / "built", "v1.0.0")
    assert refused(device, device.download(path, manifest)).reason is UpgradeReason.STATE_TOO_NEW
    release = device.download(path, replace(manifest, state_schema=2))
    stage(device.store, release)
    assert device.store.flaw(release) == ""
    (device.root / name).write_text('{"schema":3}')
    with pytest.raises(Refusal, match="form 3"):
        stage(device.store, release)


@pytest.mark.parametrize("name", [AGENT, f"{AGENT}_00000000/site-packages/part/__init__.py"])
@pytest.mark.parametrize("damage", [b"", b"something else"], ids=["empty", "other"])
def test_a_damaged_version_is_laid_down_anew(device: Device, name: str, damage: bytes) -> None:
    release = device.has("v1.0.0")
    (device.store.home(release.version) / name).write_bytes(damage)
    assert "damaged" in device.store.flaw(release)
    assert device.has("v1.0.0") == release
    assert device.store.flaw(release) == ""


def test_a_version_that_is_there_is_verified_by_todays_keys(device: Device) -> None:
    release = device.has("v1.0.0")
    device.store.trusted_keys.write_bytes(encode(TrustedKeys((replace(KEY.public, revoked=True),))))
    with pytest.raises(Refusal) as caught:
        stage(device.store, release)
    assert caught.value.reason is UpgradeReason.KEY_REVOKED
    assert device.store.flaw(release) == "", "what runs goes on"


def test_the_same_version_with_another_digest(device: Device) -> None:
    first = device.has("v1.0.0")
    other = device.download(*artifact(device.root / "other", "v1.0.0", fill=b"more"))
    with pytest.raises(Refusal) as caught:
        stage(device.store, other)
    assert caught.value.reason is UpgradeReason.DIGEST_CONFLICT
    assert device.store.flaw(first) == ""


def test_an_order_for_another_digest_than_the_one_published(device: Device) -> None:
    release = device.download(*artifact(device.root / "built", "v1.0.0"))
    other = replace(release, version=AgentVersion("v1.0.1"))
    assert refused(device, other).reason is UpgradeReason.DIGEST_CONFLICT


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_a_damaged_download(device: Device, damage: Callable[[Path], None]) -> None:
    release = device.download(*artifact(device.root / "built", "v1.0.0"))
    damage(device.store.partial(release.digest))
    expected = UpgradeReason.ARTIFACT_MISSING if damage is Path.unlink else UpgradeReason.ARTIFACT_CORRUPT
    assert refused(device, release).reason is expected


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04" + b"\0" * 100])
def test_what_was_signed_and_is_no_agent(device: Device, content: bytes) -> None:
    path = device.root / "built"
    path.write_bytes(content)
    assert refused(device, device.download(path, describe_small(path, "v1.0.0"))).reason is (
        UpgradeReason.ARTIFACT_CORRUPT
    )


def test_more_than_an_agent_can_be(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_MAX_UNPACKED", 10)
    release = device.download(*artifact(device.root / "built", "v1.0.0"))
    assert refused(device, release).reason is UpgradeReason.ARTIFACT_TOO_LARGE


def test_signed_by_nobody_whom_the_device_trusts(device: Device) -> None:
    path, manifest = artifact(device.root / "built", "v1.0.0")
    release = device.download(path, manifest)
    device.store.partial(release.digest).with_suffix(".json").write_bytes(signed(manifest, ReleaseKey.new()))
    assert refused(device, release).reason is UpgradeReason.KEY_UNKNOWN
    device.store.trusted_keys.unlink()
    assert "trusts no release key" in refused(device, release).what


def test_killed_before_each_change_it_makes(device: Device, tmp_path: Path) -> None:
    """Whatever was being written: the version is whole or not there, the other one untouched, and a repeat finishes."""
    old = device.has("v1.0.0")
    path, manifest = artifact(tmp_path / "built", "v2.0.0")
    new, number, kills = Release(manifest.version, manifest.digest), 0, 0
    while True:
        number += 1
        device.download(path, manifest)
        killed = killed_at(lambda: stage(device.store, new), number)
        kills += killed
        assert device.store.flaw(old) == "", f"after a kill before change {number}"
        assert device.store.marker(new.version) is None or device.store.flaw(new) == "", f"marked too early: {number}"
        if number % 5 == 0 or not killed:
            device.download(path, manifest)
            stage(device.store, new)
            assert device.store.flaw(new) == "", f"a repeat after a kill before change {number}"
            assert not list(device.store.versions.glob(".*"))
        if not killed:
            break
        subprocess.run(["rm", "-rf", str(device.store.home(new.version))], check=True)
    assert kills > 20, "it was killed in many places"


def test_everything_is_synced_before_the_marker_and_the_name(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    sync, rename = os.fsync, os.rename

    def fsync(handle: int) -> None:
        told.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().relative_to(device.store.versions)}")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)

    def renamed(one: os.PathLike[str], other: os.PathLike[str]) -> None:
        told.append(f"name {Path(other).relative_to(device.store.versions)}")
        rename(one, other)

    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "replace", renamed)
    device.has("v1.0.0")
    marker, name = told.index("name .staging-v1.0.0/verified"), told.index("name v1.0.0")
    laid = {
        path.relative_to(device.store.home(AgentVersion("v1.0.0")))
        for path in device.store.home(AgentVersion("v1.0.0")).rglob("*")
    }
    synced = {Path(line.removeprefix("sync .staging-v1.0.0/")) for line in told[:marker]}
    assert laid - synced == {Path("verified")}
    assert told[marker + 1 : name] == ["sync .staging-v1.0.0"]
    assert told[name + 1] == "sync ."


def unchecked(folder: Path, size: int, files: int) -> None:
    del folder, size, files


def on_small_disk(options: str, act: Callable[[Device], object]) -> object:
    def child() -> object:
        return act(Device(tmpfs(options)))

    return in_child(child)


def test_a_disk_too_small(tmp_path: Path) -> None:
    path, manifest = artifact(tmp_path, "v1.0.0", fill=os.urandom(3 * 1024 * 1024))

    def play(device: Device) -> UpgradeReason:
        return refused(device, device.download(path, manifest)).reason

    assert on_small_disk("size=8m", play) is UpgradeReason.NO_SPACE


def test_no_inodes(tmp_path: Path) -> None:
    path, manifest = artifact(tmp_path, "v1.0.0")

    def play(device: Device) -> UpgradeReason:
        return refused(device, device.download(path, manifest)).reason

    assert on_small_disk("size=64m,nr_inodes=60", play) is UpgradeReason.NO_SPACE


def test_a_disk_that_fills_up_meanwhile(tmp_path: Path) -> None:
    """The check was passed, and then somebody else took the space: an error, and no part left."""
    path, manifest = artifact(tmp_path, "v1.0.0", fill=os.urandom(1024 * 1024))

    def play(device: Device) -> int:
        release = device.download(path, manifest)
        free = os.statvfs(device.root)
        with (device.root / "hog").open("wb") as hog:
            hog.write(b"x" * (free.f_bavail * free.f_frsize - 512 * 1024))
        staging.check_space = unchecked
        with pytest.raises(OSError, match="No space") as caught:
            stage(device.store, release)
        assert not list(device.store.versions.iterdir())
        return caught.value.errno or 0

    assert on_small_disk("size=8m", play) == errno.ENOSPC


@pytest.mark.parametrize(
    ("options", "reason"),
    [("ro", UpgradeReason.READ_ONLY), ("noexec", UpgradeReason.NOT_EXECUTABLE)],
)
def test_a_file_system_that_does_not_serve(options: str, reason: UpgradeReason) -> None:
    def play() -> UpgradeReason:
        folder = tmpfs("size=8m")
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
        with pytest.raises(Refusal) as caught:
            check_space(folder, 1, 1)
        return caught.value.reason

    assert in_child(play) is reason


def test_a_tree_digest_tells_names_and_contents(tmp_path: Path) -> None:
    def digest(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        return tree_digest(folder, compiled=True)

    assert digest(a="1", b="2") == digest(b="2", a="1")
    assert len({digest(a="1"), digest(a="2"), digest(b="1"), digest(a="1", b=""), digest(ab="1")}) == 5
