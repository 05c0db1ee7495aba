"""The rotation of an admin's token, killed before and after every write, two crashes deep: an admin is never shut out.

The command's own code runs on a provider in memory, whose listings and checks of tokens may lag.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest

from fleet.contract.errors import NotFound, NotPermitted
from fleet.rotation.admin import drive as driving
from fleet.rotation.admin import ground as grounds
from fleet.rotation.admin.ground import Ground, Note
from fleet.rotation.decide import Goal

Json = dict[str, Any]
T = TypeVar("T")
_ISSUER, _USER, _OLD = "https://id.example.org", "7", "old-token"
_WRITES = 8
"""Of a rotation that nothing interrupts: four of the note, two at the provider, the file, and the note's removal."""
_LAG = 40
"""Calls by which the provider is late, where it is."""


class Killed(BaseException):
    """The command ends here, as by SIGKILL: nothing of it runs any more."""


@dataclass
class Kept:
    """A token at the provider, which is known from one moment to another."""

    text: str
    ends: str
    since: int
    until: int | None = None


@dataclass
class Provider:
    """Zitadel in memory. Its projections are `lag` calls late; time is the number of calls."""

    lag: int = 0
    now: int = 0
    tokens: dict[str, Kept] = field(default_factory=dict[str, Kept])
    die: Callable[[str], None] = lambda _: None

    def shown(self, late: int = 0) -> dict[str, Kept]:
        """What it lists; `late` calls earlier, what it listed then."""
        return {
            name: one
            for name, one in self.tokens.items()
            if one.since + late <= self.now and not (one.until is not None and one.until + late <= self.now)
        }

    def accepted(self) -> list[str]:
        """The check of tokens has a projection of its own, which is later still."""
        return [one.text for one in self.shown(self.lag).values()]

    def lasting(self) -> list[str]:
        """What it accepts once it has caught up."""
        return [one.text for one in self.tokens.values() if one.until is None]

    def catch_up(self) -> None:
        self.now += 2 * self.lag + 1


@dataclass
class Connection:
    """As `Api`, as far as it is used."""

    provider: Provider
    token: str

    def close(self) -> None:
        """Nothing to give back."""

    def discover(self) -> None:
        """It is the one meant."""

    def subject(self) -> str:
        self.provider.now += 1
        if self.token not in self.provider.accepted():
            raise NotPermitted("the token is not accepted", next_step="-")
        return _USER

    def call(self, method: str, path: str, body: Json | None, kind: type[T]) -> T:
        provider = self.provider
        self.subject()
        if path == "/orgs/me":
            return msgspec.convert({"org": {"id": "1"}}, kind)
        if path.endswith("/_search"):
            rows = [{"id": name, "expirationDate": one.ends} for name, one in provider.shown().items()]
            return msgspec.convert({"result": rows}, kind)
        if method == "POST":
            assert body
            provider.die("before")
            name = f"t{len(provider.tokens)}"
            provider.tokens[name] = Kept(f"text-{name}", body["expirationDate"], provider.now + provider.lag)
            provider.die("after")
            return msgspec.convert({"tokenId": name, "token": f"text-{name}"}, kind)
        return msgspec.convert(self._removed(path.rpartition("/")[2]), kind)

    def _removed(self, name: str) -> Json:
        provider = self.provider
        provider.die("before")
        found = provider.tokens.get(name)
        if found is None or found.until is not None:
            raise NotFound("Personal Access Token not found", next_step="-")
        found.until = provider.now + provider.lag
        provider.die("after")
        return {}


@dataclass(frozen=True)
class Crash:
    """Where a run is killed: at which of its writes, counted from 0, and on which side of it."""

    write: int
    side: str
    then: Goal
    """What the next run is asked for."""


_CRASHES = [
    Crash(write, side, then)
    for write in range(_WRITES)
    for side in ("before", "after")
    for then in (Goal.FORWARD, Goal.BACK)
]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A token in its file, and the provider that knows it."""
    return Scene(tmp_path / "admin.pat", monkeypatch)


class Scene:
    """Files of a folder, a provider, and commands that may be killed."""

    def __init__(self, file: Path, patched: pytest.MonkeyPatch) -> None:
        self.file = file
        self.provider = Provider()
        self._writes = 0
        self._crash: Crash | None = None
        patched.setattr(grounds, "Api", self._connect)
        patched.setattr(grounds, "replace_file", self._replace)
        patched.setattr(grounds, "sync", Path.exists)
        patched.setattr(driving, "_INTERVAL", 0)
        patched.setattr(grounds, "time", SimpleNamespace(time=lambda: 10.0**9 + self.provider.now))
        patched.setattr(grounds, "_CATCH_UP", 2 * _LAG)
        unlink = Path.unlink

        def counted(path: Path, *, missing_ok: bool = False) -> None:
            with self._dying():
                unlink(path, missing_ok=missing_ok)

        patched.setattr(Path, "unlink", counted)

    def begin(self, lag: int) -> None:
        """A scene in which nothing has happened yet."""
        self._crash = None
        for one in (self.file, self.note):
            one.unlink(missing_ok=True)
        self.provider = Provider(lag, tokens={"t0": Kept(_OLD, "9999-12-31T23:59:59Z", -1000)}, die=self._die)
        self._replace(self.file, _OLD.encode(), 0o600)

    @property
    def note(self) -> Path:
        return self.file.with_name("admin.pat.rotation")

    def catch_up(self) -> None:
        """Let the provider show everything."""
        self.provider.catch_up()

    def lasting(self) -> list[str]:
        """The texts of the tokens that the provider accepts once it has caught up."""
        return self.provider.lasting()

    def run(self, goal: Goal, crash: Crash | None = None) -> bool:
        """One command; whether it came to its end. An admin gets in afterwards, whatever it was."""
        self._writes, self._crash = 0, crash
        try:
            ground = Ground(_ISSUER, "", self.file)
            driving.drive(ground, goal, timeout=30, progress=lambda _: None, check=lambda: None)
        except Killed:
            return False
        finally:
            self._crash = None
            assert self.held() in self.provider.lasting(), "the admin is shut out"
        assert self.held() == _OLD or _OLD not in self.provider.accepted(), "the old token is not proven dead"
        return True

    def held(self) -> str:
        """The token in the file: what an admin has, not only what the note has."""
        return self.file.read_text().strip()

    def _connect(self, issuer: str, ca: str, token: str) -> Connection:
        assert (issuer, ca) == (_ISSUER, "")
        return Connection(self.provider, token)

    def _replace(self, path: Path, data: bytes, mode: int) -> None:
        with self._dying():
            path.touch(mode)
            path.write_bytes(data)

    @contextmanager
    def _dying(self) -> Generator[None]:
        self._die("before")
        yield
        self._die("after")

    def _die(self, side: str) -> None:
        crash = self._crash
        if crash and crash.write == self._writes and crash.side == side:
            raise Killed
        self._writes += side == "after"


@pytest.mark.parametrize("lag", [0, _LAG])
@pytest.mark.parametrize("first", _CRASHES, ids=lambda one: f"{one.write}-{one.side}-{one.then.name}")
def test_two_crashes_anywhere_and_it_ends_with_one_token(scene: Scene, first: Crash, lag: int) -> None:
    """Somebody who repeats the command later, when the provider has caught up, finds no trace of a crash."""
    for second in _CRASHES:
        scene.begin(lag)
        _two_crashes(scene, first, second, scene.catch_up)
        assert scene.lasting() == [scene.held()]


@pytest.mark.parametrize("first", _CRASHES, ids=lambda one: f"{one.write}-{one.side}-{one.then.name}")
def test_who_repeats_it_at_once_ends_with_one_token_too(scene: Scene, first: Crash) -> None:
    """A token that was removed may seem to work, and one that was made may not, nor be listed."""
    for second in _CRASHES:
        scene.begin(lag=_LAG)
        _two_crashes(scene, first, second, lambda: None)
        assert scene.lasting() == [scene.held()]


@pytest.mark.parametrize("lag", [0, _LAG])
def test_without_a_crash_it_has_so_many_writes(scene: Scene, lag: int) -> None:
    """Else the exploration would leave some out."""
    scene.begin(lag)
    assert scene.run(Goal.FORWARD, Crash(_WRITES, "before", Goal.FORWARD))
    assert scene.lasting() == [scene.held()]
    scene.begin(lag)
    assert not scene.run(Goal.FORWARD, Crash(_WRITES - 1, "before", Goal.FORWARD))


def _two_crashes(scene: Scene, first: Crash, second: Crash, pause: Callable[[], None]) -> None:
    """Killed twice, and then to its end: back, or forward where there is no way back."""
    assert not scene.run(Goal.FORWARD, first)
    pause()
    goal = first.then
    if not _ran(scene, goal, second):
        pause()
        goal = second.then
    if not _ran(scene, goal):
        assert scene.run(Goal.FORWARD)
    assert not scene.note.exists()


def _ran(scene: Scene, goal: Goal, crash: Crash | None = None) -> bool:
    """As `run`. There may be no way back, which is right only once the old token was to be removed."""
    if goal is Goal.BACK and scene.note.exists() and msgspec.json.decode(scene.note.read_bytes(), type=Note).removing:
        with pytest.raises(NotPermitted, match="there is no way back"):
            scene.run(goal, crash)
        return False
    return scene.run(goal, crash)
