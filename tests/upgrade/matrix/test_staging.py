"""Rows 4-6, 11-16, 41, 42: what is downloaded, laid down and examined, and what may never be started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.manifest import sign
from fleet.contract.objects import DEVICES
from fleet.contract.upgrade import SignedManifest, TrustedKeys, UpgradePhase, UpgradeReason
from fleet.contract.wire import encode
from harness.wait import wait_until
from tests.support.agents import KEY, TRUSTED, resigned, signed
from tests.upgrade.device import HONEST, artifact
from tests.upgrade.matrix.conftest import NEW, NEWER, OLD, MakeLab, Publish
from tests.upgrade.matrix.faulty import CHATTERS, HANGS, LIES, UNFIT, faulty, version
from tests.upgrade.matrix.lab import Lab

pytestmark = pytest.mark.matrix

COMMITTED, REFUSED = UpgradePhase.COMMITTED, UpgradePhase.REFUSED
SECOND = ReleaseKey.new()
"""A release key that the device knows as revoked."""
STRANGE = ReleaseKey.new()


def test_row_04_kill_during_download(lab: MakeLab) -> None:
    device = lab()
    device.order(NEW)
    device.phase("downloading")
    device.signal(OLD, signal.SIGKILL)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)


def test_row_05_power_loss_while_extracting(lab: MakeLab) -> None:
    device = lab()
    device.order(NEW)
    staging = device.disk.store.staging(NEW)
    wait_until(staging.exists, "it is being laid down", timeout=60, interval=0.005)
    device.host.power_off()
    assert device.disk.store.marker(NEW) is None, "marked before it was whole"
    device.host.power_on()
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)


def test_row_06_power_loss_between_stage_and_swap(lab: MakeLab) -> None:
    """What was damaged meanwhile is not started, but laid down anew."""
    device = lab(NEW)
    device.order(NEW)
    device.phase("testing")
    device.host.power_off()
    with device.disk.store.artifact(NEW).open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff" * 8)
    device.host.power_on()
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    assert not device.disk.store.flaw(device.journal().committed)
    device.judge(silence=None)


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Generator[None]:
    """A file system of its own at a folder, too small."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("options", ["size=1m", "size=100m,nr_inodes=8"])
def test_row_11_disk_or_inodes_full(lab: MakeLab, options: str) -> None:
    device = lab()
    with small_disk(device.disk.store.incoming, options):
        device.order(NEW)
        device.ends(REFUSED, UpgradeReason.NO_SPACE)
        left = sum(path.stat().st_size for path in device.disk.store.incoming.iterdir())
        assert left < 2**20, "a partial download is left"
    assert device.units() == [OLD]
    device.judge()


def test_row_12_disk_full_writing_state(lab: MakeLab) -> None:
    """The journal cannot be written: nothing is swapped, and the agent that runs goes on."""
    device = lab(NEW)
    device.order(NEW)
    device.phase("testing")
    draft = device.disk.store.journal.with_name(".journal.json.new")
    # What a full disk does to the very file: the write fails, and the old journal stands.
    subprocess.run(["chattr", "+i", device.disk.store.folder], check=True)
    try:
        device.logged(OLD, "journal not written")
        assert device.units() == [OLD]
    finally:
        subprocess.run(["chattr", "-i", device.disk.store.folder], check=True)
    assert not draft.exists()
    assert device.journal().committed.version == OLD
    device.order(NEWER)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge()


def test_row_13_corrupt_or_truncated(lab: MakeLab, published: Publish, tmp_path: Path) -> None:
    device = lab()
    path, manifest = artifact(tmp_path / "one", version(), HONEST)
    device.publish_pieces(manifest, [b"\0" * 100])
    device.publish_manifest(manifest.version, signed(manifest))
    device.order(manifest.version)
    device.ends(REFUSED, UpgradeReason.ARTIFACT_CORRUPT)
    path, manifest = artifact(tmp_path / "two", version(), HONEST, fill=b"x" * 300_000)
    device.publish_pieces(manifest, [path.read_bytes()[: 128 * 1024]])
    device.publish_manifest(manifest.version, signed(manifest))
    device.order(manifest.version)
    device.ends(REFUSED, UpgradeReason.ARTIFACT_MISSING)
    no_archive = faulty(published, tmp_path, "not python at all (")
    device.order(no_archive)
    device.ends(REFUSED, UpgradeReason.SELF_TEST_FAILED)
    assert device.units() == [OLD]
    device.judge()


def test_row_14_signatures(lab: MakeLab, tmp_path: Path) -> None:
    revoked = msgspec.structs.replace(SECOND.public, revoked=True)
    device = lab()
    device.host.write("/etc/fleet/trusted-keys.json", encode(TrustedKeys((*TRUSTED.keys, revoked))))

    def order(reason: UpgradeReason, data: bytes, name: str) -> None:
        device.publish_manifest(name, data)
        device.order(name)
        device.ends(REFUSED, reason)

    _, one = artifact(tmp_path, version(), HONEST)
    order(UpgradeReason.SIGNATURE_MISSING, encode(SignedManifest(encode(one).decode(), KEY.public.id, "")), one.version)
    _, one = artifact(tmp_path, version(), HONEST)
    tampered = encode(msgspec.structs.replace(one, size=one.size + 1)).decode()
    order(UpgradeReason.SIGNATURE_INVALID, resigned(sign(one, KEY), tampered), one.version)
    _, one = artifact(tmp_path, version(), HONEST)
    order(UpgradeReason.KEY_UNKNOWN, signed(one, STRANGE), one.version)
    _, one = artifact(tmp_path, version(), HONEST)
    order(UpgradeReason.KEY_REVOKED, signed(one, SECOND), one.version)
    _, one = artifact(tmp_path, version(), HONEST)
    order(UpgradeReason.ARTIFACT_EXPIRED, signed(msgspec.structs.replace(one, not_after=1)), one.version)
    assert device.units() == [OLD]
    assert device.journal().candidate is None
    device.judge()


def test_row_15_wrong_architecture_or_python(lab: MakeLab, published: Publish, tmp_path: Path) -> None:
    device = lab()
    device.order(faulty(published, tmp_path, HONEST, architectures=("sparc",)))
    device.ends(REFUSED, UpgradeReason.WRONG_ARCHITECTURE)
    device.order(faulty(published, tmp_path, HONEST, minimum_python="9.0"))
    device.ends(REFUSED, UpgradeReason.PYTHON_TOO_OLD)
    device.judge()


def test_row_16_self_test(lab: MakeLab, published: Publish, tmp_path: Path) -> None:
    device = lab(self_test=10)
    for code, reason in (
        (UNFIT, UpgradeReason.SELF_TEST_FAILED),
        (CHATTERS, UpgradeReason.SELF_TEST_FAILED),
        (LIES, UpgradeReason.SELF_TEST_WRONG_VERSION),
        (HANGS, UpgradeReason.SELF_TEST_TIMED_OUT),
    ):
        bad = faulty(published, tmp_path, code)
        device.order(bad)
        device.ends(REFUSED, reason)
    device.order(bad)
    device.ends(REFUSED, UpgradeReason.BAD_VERSION)
    assert device.units() == [OLD]
    device.judge()


def upgraded(lab: MakeLab) -> Lab:
    """A device with three versions: one before, one committed, one that is neither."""
    device = lab(NEW, NEWER)
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(NEW)
    return device


def test_row_41_retention_by_order(lab: MakeLab) -> None:
    """What was committed before the rollback target goes, once a number is ordered; its workload notices nothing."""
    device = upgraded(lab)
    device.order(NEWER)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    assert device.disk.store.home(OLD).exists(), "nobody ordered it to go"
    device.world.kube.patch(device.world.kube.path(DEVICES, device.name), {"spec": {"agentVersionsKept": 1}})
    wait_until(lambda: device.disk.store.home(OLD).exists(), f"{OLD} is removed", timeout=60, until=lambda it: not it)
    assert device.disk.store.home(NEW).exists()
    assert device.disk.store.home(NEWER).exists()
    device.judge()


def test_row_41_retention_under_disk_pressure(lab: MakeLab) -> None:
    """Only with an order to keep a number; then even one of these goes, for want of space, before a refusal."""
    device = lab(NEWER)
    store = device.disk.store
    device.host.power_off()
    copy = device.folder / "copy"
    shutil.copytree(store.folder, copy, symlinks=True)
    with small_disk(store.folder, "size=1g"):
        shutil.copytree(copy, store.folder, symlinks=True, dirs_exist_ok=True)
        state = os.statvfs(store.folder)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        download = store.artifact(NEWER).stat().st_size
        size = used + download + 6 * 2**20  # as much as is to stay free, and not enough to unpack it
        subprocess.run(["mount", "-o", f"remount,size={size}", store.folder], check=True)
        device.host.power_on()
        device.order(NEW)
        device.ends(REFUSED, UpgradeReason.NO_SPACE)
        assert store.home(NEWER).exists(), "nobody ordered it to go"
        device.order(NEW, kept=1)
        device.ends(COMMITTED, UpgradeReason.CONFIRMED)
        assert not store.home(NEWER).exists()
        device.judge(silence=None)
        device.host.power_off()


def test_row_42_retention_with_an_unreadable_marker(lab: MakeLab) -> None:
    device = upgraded(lab)
    (device.disk.store.home(NEWER) / "verified").write_bytes(b"\xff\xfe")
    device.disk.store.link.unlink()
    device.disk.store.link.symlink_to("/nowhere")
    with contextlib.suppress(Exception):
        assert device.disk.disk.retain(0) == []
    assert device.disk.store.home(NEWER).exists()
    assert device.disk.store.home(OLD).exists()
    device.disk.disk.point_link(device.journal().committed)
    device.judge()
