"""The journal, the link and the retention on a real disk: whole or not done, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from fleet.agent.paths import AgentPaths
from fleet.agent.upgrade.adopt import adopt
from fleet.agent.upgrade.device.disk import DeviceDisk
from fleet.agent.upgrade.device.retain import surplus_versions
from fleet.agent.upgrade.protocol.journal import (
    BadJournal,
    Candidate,
    Change,
    Commit,
    CountAttempt,
    HandOver,
    Journal,
    JournalTrouble,
    Propose,
    Release,
    apply,
    parse,
)
from fleet.artifacts.refusal import Refusal
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradeReason
from harness.faults.private_mount import tmpfs
from tests.support.child import in_child, killed_at
from tests.upgrade.device import Device, artifact


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def journal(device: Device) -> Journal:
    return device.remembers(Journal(device.has("v1.0.0")))


def test_changes_follow_each_other(device: Device, journal: Journal) -> None:
    new = device.has("v2.0.0")
    changes: list[Change] = [Propose(new, 1), CountAttempt(1), HandOver(1), Commit(1)]
    after = journal
    for change in changes:
        before, stamp = device.disk.read_journal(), device.disk.stamp()
        assert isinstance(before, Journal)
        after = device.disk.record(change)
        assert device.disk.read_journal() == after
        assert replace(after, outcome=None) == replace(apply(before, change), outcome=None)
        assert device.disk.stamp() != stamp
    assert (after.committed, after.previous) == (new, journal.committed)
    stamp = device.disk.stamp()
    assert device.disk.record(Commit(1)) == after, "what was done already changes nothing"
    assert device.disk.stamp() == stamp


def test_killed_before_each_change_of_the_disk_the_journal_is_old_or_new(device: Device, journal: Journal) -> None:
    change = Propose(device.has("v2.0.0"), 1)
    number, expected = 0, apply(journal, change)
    while killed_at(lambda: device.disk.record(change), number := number + 1):
        assert device.disk.read_journal() in (journal, expected), f"after a kill before change {number}"
    assert device.disk.read_journal() == expected
    assert number > 3


@pytest.mark.parametrize("data", [b"", b"{", bytes(range(255, 100, -1)), b"{}"], ids=["empty", "cut", "bytes", "poor"])
def test_a_journal_that_cannot_be_used_is_left_as_it_is(device: Device, journal: Journal, data: bytes) -> None:
    device.store.journal.write_bytes(data)
    with pytest.raises(Refusal) as caught:
        device.disk.record(Propose(journal.committed, 1))
    assert caught.value.reason is UpgradeReason.JOURNAL_UNREADABLE
    assert device.store.journal.read_bytes() == data


def test_a_journal_that_cannot_be_read(device: Device) -> None:
    assert device.disk.read_journal() == BadJournal(JournalTrouble.MISSING, "there is no journal")
    device.store.journal.mkdir()
    found = device.disk.read_journal()
    assert isinstance(found, BadJournal)
    assert found.trouble is JournalTrouble.DAMAGED


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as hog, contextlib.suppress(OSError):
        while hog.write(b"x" * 4096):
            pass


def test_a_full_disk_loses_no_line_of_the_journal() -> None:
    def play() -> tuple[bool, str]:
        device = Device(tmpfs("size=8m"))
        journal = device.remembers(Journal(device.has("v1.0.0")))
        fill_up(device.root / "hog")
        with pytest.raises(OSError, match="No space") as caught:
            device.disk.record(Propose(journal.committed, 1))
        return device.disk.read_journal() == journal, str(caught.value)

    same, said = in_child(play)
    assert same
    assert "No space" in said


def test_a_read_only_disk_loses_no_line_of_the_journal() -> None:
    def play() -> bool:
        device = Device(tmpfs("size=8m"))
        journal = device.remembers(Journal(device.has("v1.0.0")))
        subprocess.run(["mount", "-o", "remount,ro", str(device.root)], check=True)
        for act in (lambda: device.disk.record(Propose(journal.committed, 1)), lambda: point(device, journal)):
            with pytest.raises(OSError, match="Read-only"):
                act()
        return device.disk.read_journal() == journal and device.linked == "v1.0.0"

    assert in_child(play)


def point(device: Device, journal: Journal) -> None:
    device.disk.point_link(journal.committed)


def test_the_link_is_old_or_new_and_never_dangling(device: Device, journal: Journal) -> None:
    new = device.has("v2.0.0")
    number = 0
    while killed_at(lambda: device.disk.point_link(new), number := number + 1):
        assert device.linked in {"v1.0.0", "v2.0.0"}, f"after a kill before change {number}"
        device.disk.point_link(journal.committed)
        assert device.linked == "v1.0.0", "a link that was left over is no obstacle"
    assert device.linked == "v2.0.0"
    assert not device.store.new_link.is_symlink()


def test_the_link_leads_to_nothing_that_does_not_verify(device: Device, journal: Journal) -> None:
    new = device.has("v2.0.0")
    device.store.artifact(new.version).write_bytes(b"")
    for expected in (UpgradeReason.CANDIDATE_DAMAGED, UpgradeReason.LINK_MISSING):
        with pytest.raises(Refusal) as caught:
            device.disk.point_link(new)
        assert caught.value.reason is expected
        device.store.artifact(new.version).unlink(missing_ok=True)
    assert device.linked == "v1.0.0"


def test_a_file_in_the_place_of_the_link_is_not_ours(device: Device, journal: Journal) -> None:
    device.store.link.unlink()
    device.store.link.write_text("somebody's")
    with pytest.raises(Refusal, match="no link"):
        device.disk.point_link(journal.committed)
    assert device.store.link.read_text() == "somebody's"


def many(device: Device) -> Journal:
    """Five versions: the first is committed, the second the rollback target, the third on trial."""
    releases = [device.has(f"v{major}.0.0") for major in range(1, 6)]
    return device.remembers(Journal(releases[0], previous=releases[1], candidate=Candidate(releases[2], 1)))


def kept(device: Device) -> list[str]:
    return sorted(path.name for path in device.store.versions.iterdir())


def test_retention_never_goes_below_what_may_be_needed(device: Device) -> None:
    many(device)
    assert device.disk.retain(5) == []
    assert device.disk.retain(1) == ["v4.0.0"]
    assert device.disk.retain(0) == ["v5.0.0"]
    assert device.disk.retain(0) == []
    assert kept(device) == ["v1.0.0", "v2.0.0", "v3.0.0"]


@pytest.mark.parametrize("what", ["journal", "marker", "link", "folder"])
def test_retention_keeps_everything_while_something_is_unclear(device: Device, what: str) -> None:
    many(device)
    match what:
        case "journal":
            device.store.journal.write_bytes(b"\xff")
        case "marker":
            (device.store.home(AgentVersion("v5.0.0")) / "verified").write_bytes(os.urandom(20))
        case "link":
            device.store.link.unlink()
        case _:
            (device.store.versions / "backup").mkdir()
    before = kept(device)
    assert device.disk.retain(0) == []
    assert kept(device) == before


def test_a_link_to_an_old_version_keeps_it(device: Device) -> None:
    journal = many(device)
    device.store.link.unlink()
    device.store.link.symlink_to(device.store.artifact(AgentVersion("v4.0.0")))
    assert surplus_versions(device.store, journal, 0) == ["v5.0.0"]


def test_killed_while_removing_what_is_left_is_no_version(device: Device) -> None:
    journal = many(device)
    number = 0
    while killed_at(lambda: device.disk.retain(0), number := number + 1):
        for release in (journal.committed, journal.previous):
            assert release is not None
            assert device.store.flaw(release) == "", f"after a kill before change {number}"
        for major in (4, 5):
            version = AgentVersion(f"v{major}.0.0")
            marker = device.store.marker(version)
            assert marker is None or device.store.flaw(Release(version, marker.digest)) == ""
    assert number > 5
    assert kept(device) == ["v1.0.0", "v2.0.0", "v3.0.0"], "and whoever comes next goes on"


def test_adopting_gives_a_device_its_first_version_once(device: Device) -> None:
    release = device.download(*artifact(device.root / "built", "v1.0.0"))
    assert adopt(AgentPaths(device.root), release) == release
    assert device.linked == "v1.0.0"
    other = device.download(*artifact(device.root / "built", "v2.0.0"))
    assert adopt(AgentPaths(device.root), other) == release
    assert parse(device.store.journal.read_bytes()) == Journal(release)


def test_adopting_sets_an_agent_aside_that_was_installed_plainly(device: Device) -> None:
    device.store.link.write_text("plain")
    release = device.download(*artifact(device.root / "built", "v1.0.0"))
    assert adopt(AgentPaths(device.root), release) == release
    assert device.linked == "v1.0.0"
    assert device.store.link.with_name("fleet-agent.before-versions").read_text() == "plain"


def test_adopting_does_not_overwrite_what_a_newer_agent_wrote(device: Device) -> None:
    device.store.journal.write_text('{"type":"journal","schema":99}')
    release = device.download(*artifact(device.root / "built", "v1.0.0"))
    with pytest.raises(Refusal) as caught:
        adopt(AgentPaths(device.root), release)
    assert caught.value.reason is UpgradeReason.STATE_TOO_NEW
    device.store.journal.write_text("garbage")
    assert adopt(AgentPaths(device.root), release) == release, "a damaged one is what a set-up mends"
    assert isinstance(DeviceDisk(AgentPaths(device.root)).read_journal(), Journal)
