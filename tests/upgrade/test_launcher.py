"""The launcher: what it starts, that it runs only what verifies, and that it changes the journal as an agent does."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleet.agent.upgrade.device.examine import environment
from fleet.agent.upgrade.device.files import tree_digest
from fleet.agent.upgrade.protocol.journal import (
    BadJournal,
    BadRelease,
    Candidate,
    CountAttempt,
    FallBack,
    Journal,
    Outcome,
    Reject,
    Release,
    Stage,
    apply,
    parse,
    render,
)
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import EXIT_DONE, MAX_ATTEMPTS, UpgradePhase, UpgradeReason
from fleet.launcher import launcher
from tests.support.agents import interpreter
from tests.upgrade.device import Device

Json = dict[str, Any]
RECORDER = '#!/bin/sh\necho "$@" >> "$FLEET_ROOT/systemctl.log"\nexit ${SYSTEMCTL_CODE:-0}\n'
RAW = {"version": "v1.0.0", "digest": "sha256:" + "a" * 64}
SAYS = "import os, sys\nprint('I am {version}', sys.argv[1], os.environ['SHIV_ROOT'].rsplit('/', 1)[1])\n"


class Scene:
    """A device with two versions, of which the second may be on trial."""

    def __init__(self, root: Path) -> None:
        self.device = Device(root)
        self.old = self.device.has("v1.0.0", SAYS)
        self.new = self.device.has("v2.0.0", SAYS)
        self.journal = self.device.remembers(Journal(self.old))
        (root / "systemctl").write_text(RECORDER)
        (root / "systemctl").chmod(0o755)

    def on_trial(self, stage: Stage = Stage.PROPOSED, attempts: int = 0, *, linked: bool = True) -> None:
        self.write(replace(self.journal, candidate=Candidate(self.new, 7, stage, attempts)))
        self.device.disk.point_link(self.new if linked else self.old)

    def write(self, journal: Journal) -> None:
        self.device.store.journal.write_bytes(render(journal))

    def damage(self, release: Release) -> None:
        self.device.store.artifact(release.version).write_bytes(b"")

    def launch(self, *argv: str, code: int = 0) -> tuple[int, str, list[str]]:
        """Its exit status, what it became, and what it asked systemctl for."""
        root, became = self.device.root, list[str]()

        def act(_: launcher.Device, release: Json) -> NoReturn:
            became.append(release["version"])
            raise SystemExit(0)

        (root / "systemctl.log").unlink(missing_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FLEET_ROOT", str(root))
            patch.setenv("PATH", f"{root}:/usr/bin:/bin")
            patch.setenv("SYSTEMCTL_CODE", str(code))
            try:
                ended = launcher.main(list(argv), act)
            except SystemExit:
                ended = 0
        log = root / "systemctl.log"
        return ended, "".join(became), log.read_text().splitlines() if log.exists() else []

    def really(self, *argv: str, code: int = 0) -> tuple[int, str, list[str]]:
        """The same as a process of its own."""
        root = self.device.root
        (root / "systemctl.log").unlink(missing_ok=True)
        env = {"PATH": f"{root}:/usr/bin:/bin", "FLEET_ROOT": str(root), "SYSTEMCTL_CODE": str(code)}
        env["PYTHONPATH"] = "/nowhere"
        done = subprocess.run(
            [interpreter(), launcher.__file__, *argv], env=env, capture_output=True, text=True, timeout=30, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        log = root / "systemctl.log"
        return done.returncode, done.stdout.strip(), log.read_text().splitlines() if log.exists() else []

    @property
    def now(self) -> Journal:
        journal = self.device.disk.read_journal()
        assert isinstance(journal, Journal)
        return journal


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def starts(version: str, how: str = "start") -> list[str]:
    return [f"{how} --no-block fleet-agent@{version}.service"]


BECAME_OLD = (0, "v1.0.0", list[str]())
BECAME_NEW = (0, "v2.0.0", list[str]())


def test_boot_starts_what_is_committed(scene: Scene) -> None:
    assert scene.launch("boot") == (0, "", starts("v1.0.0"))


@pytest.mark.parametrize(
    ("stage", "linked", "expected"),
    [
        (Stage.PROPOSED, True, "v1.0.0"),
        (Stage.HANDED_OVER, True, "v2.0.0"),
        (Stage.HANDED_OVER, False, "v1.0.0"),
        (Stage.STEPPED_DOWN, True, "v1.0.0"),
    ],
)
def test_boot_starts_a_candidate_that_was_handed_over(scene: Scene, stage: Stage, linked: bool, expected: str) -> None:
    """Before that, the committed agent starts it, and watches it."""
    scene.on_trial(stage, linked=linked)
    assert scene.launch("boot") == (0, "", starts(expected))


def test_as_a_process_it_does_the_same(scene: Scene) -> None:
    assert scene.really("run", "v1.0.0") == (0, "I am v1.0.0 run v1.0.0", [])
    assert scene.really("run", "v2.0.0") == (EXIT_DONE, "", starts("v1.0.0"))
    assert scene.really("boot") == (0, "", starts("v1.0.0"))
    assert scene.really("boot", code=1)[0] == 1
    assert scene.really() == (2, "", [])


def test_a_candidate_is_counted_before_it_runs_and_turned_back_after(scene: Scene) -> None:
    scene.on_trial()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert scene.launch("run", "v2.0.0") == BECAME_NEW
        assert scene.now.candidate == Candidate(scene.new, 7, Stage.PROPOSED, attempt)
    assert scene.launch("run", "v2.0.0") == (EXIT_DONE, "", starts("v1.0.0"))
    assert scene.now.candidate is None
    assert scene.now.outcome is not None
    assert scene.now.outcome.reason is UpgradeReason.CANDIDATE_CRASHED
    assert scene.now.bad == (BadRelease(scene.new, UpgradeReason.CANDIDATE_CRASHED),)


def test_the_committed_agent_is_restarted_after_a_hand_over(scene: Scene) -> None:
    """It may be on its way out, and a start would find its unit active still."""
    scene.on_trial(Stage.HANDED_OVER, MAX_ATTEMPTS)
    assert scene.launch("run", "v2.0.0") == (EXIT_DONE, "", starts("v1.0.0", "restart"))


@pytest.mark.parametrize("what", ["artefact", "marker", "folder", "digest"])
def test_a_damaged_candidate_is_never_run(scene: Scene, what: str) -> None:
    scene.on_trial()
    home = scene.device.store.home(scene.new.version)
    match what:
        case "artefact":
            scene.damage(scene.new)
        case "marker":
            (home / "verified").write_bytes(b"\xff")
        case "folder":
            subprocess.run(["rm", "-r", str(home)], check=True)
        case _:
            other = replace(scene.new, digest=Digest("sha256:" + "0" * 64))
            scene.write(replace(scene.journal, candidate=Candidate(other, 7)))
    assert scene.launch("run", "v2.0.0") == (EXIT_DONE, "", starts("v1.0.0"))
    assert scene.now.outcome is not None
    assert scene.now.outcome.reason is UpgradeReason.CANDIDATE_DAMAGED
    assert scene.now.bad == (), "a damage on this disk says nothing against the version"


@pytest.mark.parametrize("tree", ["", "..", "../v2.0.0", "."])
def test_a_marker_that_names_no_tree_costs_no_version(scene: Scene, tree: str) -> None:
    marker = scene.device.store.home(scene.old.version) / "verified"
    marker.write_text(json.dumps({**json.loads(marker.read_bytes()), "tree": tree}))
    assert scene.launch("run", "v1.0.0") == BECAME_OLD
    assert scene.device.store.artifact(scene.old.version).exists()
    assert scene.device.store.flaw(scene.new) == ""


@pytest.mark.parametrize("damage", ["empty", "gone", "more"])
def test_what_was_unpacked_is_unpacked_anew_when_it_is_damaged(scene: Scene, damage: str) -> None:
    tree = scene.device.store.home(scene.old.version) / "fleet-agent_00000000"
    module = tree / "site-packages/part/__init__.py"
    match damage:
        case "empty":
            module.write_bytes(b"")
        case "gone":
            module.unlink()
        case _:
            (tree / "more.py").touch()
    assert scene.launch("run", "v1.0.0") == BECAME_OLD
    assert not tree.exists(), "the file unpacks itself as it starts"


def test_unpacked_by_the_file_itself_it_verifies_without_compiled_python(scene: Scene) -> None:
    tree = scene.device.store.home(scene.old.version) / "fleet-agent_00000000"
    for compiled in list(tree.rglob("__pycache__")):
        subprocess.run(["rm", "-r", str(compiled)], check=True)
    assert scene.launch("run", "v1.0.0") == BECAME_OLD
    assert tree.exists()


def test_both_compute_the_same_tree_digest(scene: Scene) -> None:
    tree = scene.device.store.home(scene.old.version) / "fleet-agent_00000000"
    assert launcher._tree_digests(tree) == (tree_digest(tree, compiled=True), tree_digest(tree, compiled=False))  # pyright: ignore[reportPrivateUsage]


def test_what_was_committed_is_damaged(scene: Scene) -> None:
    third = scene.device.has("v3.0.0", SAYS)
    scene.write(replace(scene.journal, previous=scene.new))
    scene.damage(scene.old)
    assert scene.launch("run", "v1.0.0") == (EXIT_DONE, "", starts("v2.0.0", "restart")), (
        "the rollback target, not the newest"
    )
    assert (scene.now.committed, scene.now.previous) == (scene.new, None)
    scene.damage(scene.new)
    assert scene.launch("run", "v2.0.0") == (EXIT_DONE, "", starts("v3.0.0", "restart"))
    assert scene.now.committed == third
    scene.damage(third)
    assert scene.launch("run", "v3.0.0")[0] == 1, "and the unit tries again"


@pytest.mark.parametrize(
    "data",
    [None, b"", b"{", bytes(range(255, 100, -1)), b'{"type":"journal"}', b"[]", b"null", b"[" * 9999],
    ids=["missing", "empty", "truncated", "bytes", "poor", "list", "null", "deep"],
)
def test_a_journal_that_cannot_be_used(scene: Scene, data: bytes | None) -> None:
    """What the link points to if it verifies, else the newest that does; and the journal stays as it is."""
    path = scene.device.store.journal
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    assert scene.launch("boot") == (0, "", starts("v1.0.0"))
    assert scene.launch("run", "v1.0.0") == BECAME_OLD
    scene.damage(scene.old)
    assert scene.launch("boot") == (0, "", starts("v2.0.0"))
    assert scene.launch("run", "v1.0.0") == (EXIT_DONE, "", starts("v2.0.0"))
    scene.device.store.link.unlink()
    assert scene.launch("boot") == (0, "", starts("v2.0.0"))
    assert (path.read_bytes() if path.exists() else None) == data


def test_a_journal_of_a_newer_agent_is_left_alone(scene: Scene) -> None:
    newer = {**json.loads(scene.device.store.journal.read_bytes()), "schema": 99}
    scene.device.store.journal.write_text(json.dumps(newer))
    assert scene.launch("boot") == (0, "", starts("v1.0.0"))
    assert json.loads(scene.device.store.journal.read_bytes()) == newer


def test_a_version_that_is_none_of_ours_makes_room(scene: Scene) -> None:
    assert scene.launch("run", "v2.0.0") == (EXIT_DONE, "", starts("v1.0.0"))


def test_where_nothing_can_be_started_the_unit_tries_again(scene: Scene) -> None:
    assert scene.launch("run", "v2.0.0", code=1)[0] == 1
    for release in (scene.old, scene.new):
        scene.damage(release)
    scene.device.store.journal.unlink()
    assert scene.launch("boot")[0] == 1


@pytest.mark.parametrize("argv", [(), ("run",), ("run", "../../evil"), ("run", "latest"), ("stop",)], ids=str)
def test_words_that_it_does_not_know(scene: Scene, argv: tuple[str, ...]) -> None:
    assert scene.launch(*argv) == (2, "", [])


def unwritable(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> launcher.Device:
    def full(journal: Json) -> None:
        raise OSError(28, "No space left on device")

    device = launcher.Device(scene.device.root)
    monkeypatch.setattr(device, "save", full)
    return device


def test_a_full_disk_keeps_the_committed_agent_running(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.on_trial()
    device = unwritable(scene, monkeypatch)
    before = scene.device.store.journal.read_bytes()
    how, release = launcher.run(device, "v2.0.0")
    assert (how, release) == ("start", {"version": "v1.0.0", "digest": scene.old.digest}), "an uncounted try is none"
    scene.write(replace(scene.journal, previous=scene.new))
    scene.damage(scene.old)
    how, release = launcher.run(device, "v1.0.0")
    assert how == "become", "its own launcher would send it back"
    assert release is not None
    assert release["version"] == "v2.0.0"
    assert before


def test_it_starts_an_agent_as_the_examination_did(scene: Scene) -> None:
    device = launcher.Device(scene.device.root)
    assert launcher.environment(device, "v1.0.0") == environment(scene.device.store, scene.old)


def test_it_needs_nothing_but_the_standard_library() -> None:
    code = "import runpy, sys; sys.argv = ['fleet-launcher']; runpy.run_path(sys.argv[1] if 0 else sys.orig_argv[-1])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, launcher.__file__], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# The same cases for both: every journal that an agent can write, changed by either.

releases = st.builds(
    Release,
    st.sampled_from([AgentVersion(f"v1.{minor}.0") for minor in range(3)]),
    st.sampled_from([Digest("sha256:" + digit * 64) for digit in "ab"]),
)
candidates = st.builds(Candidate, releases, st.integers(1, 9), st.sampled_from(Stage), st.integers(0, 4))
outcomes = st.builds(
    Outcome,
    st.integers(0, 9),
    releases,
    st.sampled_from([phase for phase in UpgradePhase if phase.terminal]),
    st.sampled_from(UpgradeReason),
    st.text(),
    st.floats(0, 1e10),
    st.booleans(),
)
bad = st.lists(st.builds(BadRelease, releases, st.sampled_from(UpgradeReason)), max_size=40).map(tuple)
journals = st.builds(
    Journal,
    releases,
    previous=st.none() | releases,
    candidate=st.none() | candidates,
    bad=bad,
    outcome=st.none() | outcomes,
)


def same(changed: Json, expected: Journal) -> bool:
    return parse(json.dumps(changed).encode()) == expected


@given(journals, releases, st.text(), st.floats(0, 1e10))
def test_both_change_a_journal_alike(journal: Journal, other: Release, message: str, at: float) -> None:
    raw: Json = json.loads(render(journal))
    plain = {"version": str(other.version), "digest": str(other.digest)}
    if other != journal.committed:
        reason = UpgradeReason.COMMITTED_DAMAGED
        assert same(launcher.fall_back(raw, plain, message, at), apply(journal, FallBack(other, reason, message), at))
    if journal.candidate is None:
        return
    generation = journal.candidate.generation
    assert same(launcher.count_attempt(raw), apply(journal, CountAttempt(generation)))
    for reason in (UpgradeReason.CANDIDATE_DAMAGED, UpgradeReason.CANDIDATE_CRASHED):
        expected = apply(journal, Reject(generation, reason, message), at)
        assert same(launcher.reject(raw, reason.value, message, at), expected)


@given(journals)
def test_a_journal_that_an_agent_reads_the_launcher_reads(journal: Journal) -> None:
    assert reads(render(journal))


@pytest.mark.parametrize(
    "change",
    [
        {"committed": None},
        {"committed": {"version": "../../etc", "digest": "x"}},
        {"schema": 0},
        {"schema": 2},
        {"type": "target"},
        {"candidate": {"release": RAW, "generation": "x", "stage": "proposed"}},
        {"candidate": {"release": RAW, "generation": 1, "stage": "x", "attempts": 0}},
    ],
    ids=str,
)
def test_a_journal_that_an_agent_refuses_the_launcher_refuses(change: Json) -> None:
    data = json.dumps({"type": "journal", "schema": 1, "committed": RAW, **change}).encode()
    assert isinstance(parse(data), BadJournal)
    assert not reads(data)


def reads(data: bytes) -> bool:
    with tempfile.TemporaryDirectory() as root:
        device = launcher.Device(Path(root))
        device.folder.mkdir(parents=True)
        (device.folder / "journal.json").write_bytes(data)
        return device.journal() is not None


def test_versions_sort_as_the_contract_sorts_them() -> None:
    versions = ["v1.0.0-alpha", "v1.0.0-alpha.1", "v1.0.0-rc.1", "v1.0.0", "v1.9.0", "v1.10.0"]
    key = launcher._precedence  # pyright: ignore[reportPrivateUsage]
    assert sorted(versions[::-1], key=key) == sorted(versions[::-1], key=lambda one: AgentVersion(one).precedence)  # noqa: C415
    assert launcher.MAX_ATTEMPTS == MAX_ATTEMPTS
    assert launcher.EXIT_DONE == EXIT_DONE
