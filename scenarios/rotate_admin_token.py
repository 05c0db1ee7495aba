"""Renew the access token of an admin: once with a way back, and once to its end."""

from __future__ import annotations

import json
import stat
from contextlib import closing
from dataclasses import dataclass

from harness.probes.identity import IdentityProbe
from harness.scenario.command import Result
from harness.scenario.command_line import Command, killed
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario

_FILE = "ci.pat"
_ROTATE = f"fleet secrets rotate admin_token --admin-token-file {_FILE}"
_LATE = 120.0
"""Seconds by which the identity provider is late while the command is cut off."""

rotate_admin_token = Scenario(
    id="rotate-admin-token",
    title="Renew an admin's token",
    chapter="Rotate",
    why="A token in a file, as a CI has one, opens the whole identity provider. Another one takes its place, and "
    "copies of the old one open nothing any more.",
)


@dataclass(frozen=True)
class Tokens:
    """The token that the file had at first, and one that was made and given up."""

    first: str
    given_up: str = ""


@rotate_admin_token.step("Save a token of the administrator in ci.pat")
def saved(run: Run) -> None:
    """The identity provider lists several tokens of this user: the id of this one is shown there."""
    with closing(IdentityProbe(run.world)) as identity:
        run.names["token_id"], text = identity.add_access_token()
        identity.late(_LATE)
    file = run.folder / _FILE
    file.touch(0o600)
    file.write_text(text)
    run.keep(Tokens(text))


@rotate_admin_token.step(
    "Begin while the identity provider is late, and be cut off",
    killed(
        f"{_ROTATE} --token-id {{token_id}}",
        at="waiting: the identity provider does not accept the new token",
    ),
    look_at=("zitadel",),
)
def cut_off(run: Run) -> None:
    """The file has the old token, and a note beside it both: only their owner can read it."""
    with closing(IdentityProbe(run.world)) as identity:
        identity.late(0)
    note = run.folder / f"{_FILE}.rotation"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    token_id = json.loads(note.read_text())["new"]
    assert _opens(run, token_id), "it was not made"
    assert (run.folder / _FILE).read_text() == run.kept(Tokens).first
    run.keep(Tokens(run.kept(Tokens).first, token_id))


@rotate_admin_token.step(
    "Go back",
    Command(f"{_ROTATE} --abort", contains=("back at {token_id}",)),
    look_at=("zitadel",),
)
def back(run: Run) -> None:
    """The old token opens the provider as before, and the new one opens nothing any more."""
    tokens = run.kept(Tokens)
    assert (run.folder / _FILE).read_text().strip() == tokens.first
    assert _opens(run, tokens.first)
    assert not _opens(run, tokens.given_up)
    assert not (run.folder / f"{_FILE}.rotation").exists()


@rotate_admin_token.step(
    "Renew it, and install with the new one",
    Command(f"{_ROTATE} --token-id {{token_id}}", contains=("rotated, now", "copies of the old one elsewhere")),
    Command(
        f"fleet server install --issuer {{issuer}} --issuer-ca {{issuer_ca}} --admin-token-file {_FILE}",
        contains=("nothing changed",),
        deadline=60,
    ),
    look_at=("zitadel",),
)
def renewed(run: Run, rotated: Result, _installed: Result) -> None:
    """The new token does what the old one did, and the old one opens nothing any more."""
    file = run.folder / _FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    new = file.read_text().strip()
    assert _opens(run, new)
    for old in (run.kept(Tokens).first, run.kept(Tokens).given_up):
        assert old != new
        assert not _opens(run, old)
        assert old not in rotated.output
    assert new not in rotated.output


def _opens(run: Run, token: str) -> bool:
    with closing(IdentityProbe(run.world)) as identity:
        return identity.opens(token)
