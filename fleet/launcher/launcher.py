#!/usr/bin/env python3
"""fleet-launcher: decides which version of the agent runs, and trusts nothing but the journal and what it verifies.

`fleet-launcher boot` starts the unit of the right version; `fleet-launcher run VERSION` becomes that version, or has
another one started. The rules are in docs/upgrade.md. It is one file of the standard library, put on a device by
`fleet device setup` and never replaced by an upgrade: so it repeats what little it needs of the agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NoReturn

EXIT_DONE = 86
"""Another version runs: the unit is not to be started again."""
EXIT_FAILED, EXIT_USAGE = 1, 2
"""Nothing could be started: the unit is to be started again. What was asked is no command."""
MAX_ATTEMPTS, SCHEMA, REMEMBERED = 3, 1, 32
AGENT = "fleet-agent"

Json = dict[str, Any]

_VERSION = re.compile(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What comes of reading a file that holds anything."""


class Device:
    """The versions and the journal below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "var/lib/fleet/agent"
        self.versions = self.folder / "versions"
        self.link = root / "usr/local/bin" / AGENT

    def journal(self) -> Json | None:
        """What the journal says; None when it cannot be used."""
        try:
            journal = json.loads(_read(self.folder / "journal.json"))
            good = journal["type"] == "journal" and 1 <= journal["schema"] <= SCHEMA
            _known(journal["committed"])
            _known(journal.get("previous") or journal["committed"])
            candidate = journal.get("candidate")
            if candidate is not None:
                _known(candidate["release"])
                good = good and isinstance(candidate["generation"], int) and isinstance(candidate["attempts"], int)
                good = good and candidate["stage"] in {"proposed", "handed-over", "stepped-down"}
        except _UNUSABLE:
            return None
        return journal if good else None

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Hold the journal's lock; go on without where the disk does not let us."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):
                lock = held.enter_context((self.folder / "journal.lock").open("ab+", 0))  # no wait for a pipe
                fcntl.flock(lock, fcntl.LOCK_EX)
                _sync(self.folder)  # nobody must act on a line that a power cut takes back
            yield

    def save(self, journal: Json) -> None:
        """Replace the journal; after it returns, a power cut does not lose it."""
        draft = self.folder / ".journal.json.new"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644), "wb") as file:
            file.write(json.dumps(journal, separators=(",", ":")).encode())
            file.flush()
            os.fsync(file.fileno())
        _sync(draft.replace(self.folder / "journal.json").parent)

    def verifies(self, release: Json) -> bool:
        """Whether a release is here as it was verified: its marker, and its file by the marker's digest.

        What it was unpacked to is thrown away when that is damaged; the file unpacks itself anew.
        """
        home = self.versions / release["version"]
        try:
            marker, found = json.loads(_read(home / "verified")), hashlib.sha256(_read(home / AGENT)).hexdigest()
            if marker["digest"] != release["digest"] or f"sha256:{found}" != release["digest"]:
                return False
            tree = home / f"{AGENT}_{Path(marker['tree']).name.removeprefix(f'{AGENT}_')}"
            if _tree_digests(tree) not in ((marker["whole"], marker["sources"]), (marker["sources"],) * 2):
                for left in (tree, tree.with_name(f"{tree.name}.tmp")):
                    shutil.rmtree(left, ignore_errors=True)
        except _UNUSABLE:
            return False
        return True

    def marked(self) -> list[Json]:
        """Every version that has a marker, newest first."""
        found: list[Json] = []
        for marker in self.versions.glob("v*/verified"):
            with contextlib.suppress(*_UNUSABLE):
                release = {"version": marker.parent.name, "digest": json.loads(_read(marker))["digest"]}
                _known(release)
                found.append(release)
        return sorted(found, key=lambda release: _precedence(release["version"]), reverse=True)

    def linked(self) -> str:
        """The version that the link points to; empty when it points to none."""
        with contextlib.suppress(OSError):
            return self.link.readlink().parent.name
        return ""


def boot(device: Device) -> Json | None:
    """The release whose unit is to be started; None when there is none that could run."""
    journal = device.journal()
    if journal is None:
        return _without_journal(device)
    candidate = journal.get("candidate")
    # Before the hand-over it may hang, and only the committed agent, which starts it, would notice.
    if candidate and candidate["stage"] == "handed-over" and candidate["release"]["version"] == device.linked():
        return candidate["release"]
    return journal["committed"]


def run(device: Device, version: str) -> tuple[str, Json | None]:
    """What the launcher of one version's unit is to do, after it has written the line in the journal that says so.

    Returns:
        `become`, `start` or `restart`, and the release; None when there is none that could run.
    """
    with device.locked():
        journal = device.journal()
        if journal is None:
            mine = next((one for one in device.marked() if one["version"] == version and device.verifies(one)), None)
            return ("become", mine) if mine else ("start", _without_journal(device))
        candidate = _on_trial(journal)
        if candidate is not None and candidate["release"]["version"] == version:
            return _try(device, journal, candidate)
        if journal["committed"]["version"] == version:
            return _committed(device, journal)
        return _leave(journal)


def count_attempt(journal: Json) -> Json:
    """One more start of the candidate; as `CountAttempt` of the agent's journal."""
    return {**journal, "candidate": {**journal["candidate"], "attempts": journal["candidate"]["attempts"] + 1}}


def reject(journal: Json, reason: str, message: str, at: float) -> Json:
    """The candidate has failed; as `Reject` of the agent's journal."""
    candidate = journal["candidate"]
    how = {"reason": reason, "message": message, "at": at, "leaving": candidate["stage"] == "handed-over"}
    return _ended(journal, candidate["generation"], candidate["release"], how)


def fall_back(journal: Json, release: Json, message: str, at: float) -> Json:
    """What was committed cannot run; as `FallBack` of the agent's journal."""
    generation = max((journal.get(what) or {"generation": 0})["generation"] for what in ("candidate", "outcome"))
    how = {"reason": "CommittedDamaged", "message": message, "at": at, "leaving": True}
    previous = None if journal.get("previous") == release else journal.get("previous")
    return {**_ended(journal, generation, journal["committed"], how), "committed": release, "previous": previous}


def _try(device: Device, journal: Json, candidate: Json) -> tuple[str, Json]:
    if not device.verifies(candidate["release"]):
        changed = reject(journal, "CandidateDamaged", "its files are not as they were verified", time.time())
    elif candidate["attempts"] >= MAX_ATTEMPTS:
        changed = reject(journal, "CandidateCrashed", f"it was started {MAX_ATTEMPTS} times in vain", time.time())
    elif _saved(device, count_attempt(journal)):
        return "become", candidate["release"]
    else:  # a start that cannot be counted could be repeated for ever
        return _leave(journal)
    _saved(device, changed)
    return _leave(journal)


def _committed(device: Device, journal: Json) -> tuple[str, Json | None]:
    mine = journal["committed"]
    if device.verifies(mine):
        return "become", mine
    others = [one for one in (journal.get("previous"), *device.marked()) if one and one != mine]
    other = next(filter(device.verifies, others), None)
    if other is None:
        return "start", None
    # Where the line cannot be written, the other one's launcher would send us back: so it runs in our unit.
    saved = _saved(device, fall_back(journal, other, f"{other['version']} runs in its place", time.time()))
    return ("restart" if saved else "become"), other


def _leave(journal: Json) -> tuple[str, Json]:
    candidate, outcome = journal.get("candidate"), journal.get("outcome")
    leaving = candidate["stage"] == "handed-over" if candidate else bool(outcome and outcome.get("leaving"))
    return ("restart" if leaving else "start"), journal["committed"]


def _on_trial(journal: Json) -> Json | None:
    candidate = journal.get("candidate")
    return candidate if candidate is not None and candidate["stage"] != "stepped-down" else None


def _without_journal(device: Device) -> Json | None:
    """What the link points to if that verifies, else the newest version that does."""
    found = sorted(device.marked(), key=lambda release: release["version"] != device.linked())
    return next(filter(device.verifies, found), None)


def _ended(journal: Json, generation: int, release: Json, how: Json) -> Json:
    bad = list(journal.get("bad") or [])
    # Of the reasons that are given here, only this one speaks against the version itself.
    if how["reason"] == "CandidateCrashed" and all(one["release"] != release for one in bad):
        bad = [*bad, {"release": release, "reason": how["reason"]}][-REMEMBERED:]
    how = {"generation": generation, "release": release, "phase": "Reverted", **how}
    return {**journal, "candidate": None, "bad": bad, "outcome": how}


def _saved(device: Device, journal: Json) -> bool:
    try:
        device.save(journal)
    except OSError as error:
        say(f"the journal cannot be written: {error}")
        return False
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _known(release: Json) -> None:
    if not _VERSION.fullmatch(release["version"]) or not isinstance(release["digest"], str):
        raise ValueError(release)


def _precedence(version: str) -> tuple[Any, ...]:
    """Sorts versions from old to new (Semantic Versioning 2.0.0, section 11)."""
    numbers, _, labels = version[1:].partition("-")
    order = [(0, int(label), "") if label.isdigit() else (1, 0, label) for label in labels.split(".")]
    return (*(int(number) for number in numbers.split(".")), not labels, order)


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # nobody waits for a pipe's writer
        return file.read()


def _tree_digests(folder: Path) -> tuple[str, str]:
    """The digests of all files below a folder, and of those that Python did not compile."""
    names = [Path(inside, name).relative_to(folder).as_posix() for inside, _, some in os.walk(folder) for name in some]
    whole, sources = hashlib.sha256(), hashlib.sha256()
    for name in sorted(names):
        data = _read(folder / name)
        line = f"{name}\0{len(data)}\0".encode() + data
        whole.update(line)
        if "__pycache__" not in name.split("/"):
            sources.update(line)
    return f"sha256:{whole.hexdigest()}", f"sha256:{sources.hexdigest()}"


def environment(device: Device, version: str) -> dict[str, str]:
    """What a version is started with: its own modules as they were verified, and nothing written among them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHIV_", "PYTHON"))}
    added = {"SHIV_ROOT": str(device.versions / version), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **added, "FLEET_ROOT": str(device.root)}


def become(device: Device, release: Json) -> NoReturn:
    """Replace this process by a version's agent."""
    argv = [sys.executable, str(device.versions / release["version"] / AGENT), "run"]
    os.execve(sys.executable, argv, environment(device, release["version"]))  # noqa: S606


def start(how: str, release: Json) -> bool:
    """Have systemd start, or restart, a version's unit; whether it will."""
    argv = ["systemctl", how, "--no-block", f"{AGENT}@{release['version']}.service"]
    try:
        return subprocess.run(argv, check=False).returncode == 0
    except OSError as error:
        say(f"cannot run systemctl: {error}")
        return False


def say(what: str) -> None:
    """Tell the device's log."""
    print(f"fleet-launcher: {what}", file=sys.stderr, flush=True)  # noqa: T201


def main(argv: list[str], act: Callable[[Device, Json], NoReturn] = become) -> int:
    """The command line; returns an exit status, or becomes an agent."""
    device = Device(Path(os.environ.get("FLEET_ROOT") or "/"))
    match argv:
        case ["boot"]:
            how, release = "start", boot(device)
        case ["run", version] if _VERSION.fullmatch(version):
            how, release = run(device, version)
        case _:
            say("use `fleet-launcher boot` or `fleet-launcher run VERSION`")
            return EXIT_USAGE
    if release is None:
        say(f"no version in {device.versions} is as it was verified; set the device up again with --agent")
        return EXIT_FAILED
    say(f"{how} {release['version']}")
    if how == "become":
        act(device, release)
    done = 0 if argv == ["boot"] else EXIT_DONE
    return done if start(how, release) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
