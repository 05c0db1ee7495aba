"""Who gets in, for how long, and what he may touch then."""

from __future__ import annotations

import base64
import contextlib
import stat
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.jwk import RSAKey

from fleet.contract.buckets import (
    AGENT_TARGET,
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
)
from harness.errors import Unanswered
from harness.probes.identity import IdentityProbe
from harness.probes.login import LoginOutcome, expelled
from harness.scenario.command_line import signed_in
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from scenarios import logins

_LIVES = (2, 8, 32)
"""Seconds that a token lives: one that has expired before a busy machine has logged in with it says nothing."""

who_gets_in = Scenario(
    id="who-gets-in",
    title="Let nobody in but enrolled devices with the role",
    chapter="Rules",
    why="A token says who, the registry says whether, the role says as what; all three must say yes.",
    devices=1,
)


@who_gets_in.step("Come with the device's own key", look_at=("callout",))
def own_key(run: Run) -> None:
    """It is let in."""
    assert logins.visit(run, logins.token(run)).let_in, "an enrolled device was kept out"


def _kept_out(run: Run, what: str, **claims: str | float | list[str]) -> None:
    with closing(IdentityProbe(run.world)) as identity:
        token = identity.forged(logins.config(run).auth.machine_key, logins.server(run).project_id, **claims)
    assert not logins.visit(run, token).let_in, f"a token {what} was let in"


@who_gets_in.step("Come with a token that was made for somebody else", look_at=("callout",))
def foreign_audience(run: Run) -> None:
    """It is kept out: the token's audience is another project."""
    _kept_out(run, "for another audience", aud=["somebody-else"])


@who_gets_in.step("Come with a token that somebody else has issued", look_at=("callout",))
def foreign_issuer(run: Run) -> None:
    """It is kept out, whether another issuer is named, or another key has signed."""
    _kept_out(run, "of another issuer", iss="https://elsewhere.example.org")
    good = logins.token(run)
    header, claims = _parts(good)
    forged = jwt.encode(header, claims, RSAKey.generate_key(2048), algorithms=["RS256"])
    assert not logins.visit(run, forged).let_in, "a token that another key has signed was let in"
    unsigned = f"{_base64(msgspec.json.encode({**header, 'alg': 'none'}))}.{good.split('.')[1]}."
    assert not logins.visit(run, unsigned).let_in, "a token that nobody has signed was let in"


@who_gets_in.step("Come with a token at the wrong time", look_at=("callout",))
def wrong_time(run: Run) -> None:
    """It is kept out, when its time is over and when it has not begun."""
    now = time.time()
    _kept_out(run, "that has expired", exp=now - 1)
    _kept_out(run, "that is not valid yet", nbf=now + 3600)
    _kept_out(run, "that will be issued", iat=now + 3600)


@who_gets_in.step("Stay until the token expires", look_at=("nats", "callout"))
def stays(run: Run) -> None:
    """The session ends with the token, within two seconds."""
    *shorter, longest = _LIVES
    for life in shorter:
        with contextlib.suppress(Unanswered):
            assert _ends(run, life), "the session outlives its token"
            return
    assert _ends(run, longest), "the session outlives its token"


def _ends(run: Run, life: int) -> bool:
    """Log in with a token that lives so many seconds, and stay: whether the session ends with it."""
    server = logins.server(run)
    with closing(IdentityProbe(run.world)) as identity:
        key = logins.config(run).auth.machine_key
        token = identity.forged(key, server.project_id, exp=time.time() + life)
    return expelled(server.nats_url, server.ca, token, within=life + 2)


@who_gets_in.step("Come with a good key and the role, but never enrolled", look_at=("callout",))
def stranger(run: Run) -> None:
    """It is kept out."""
    server = logins.server(run)
    with closing(IdentityProbe(run.world)) as identity:
        key = identity.add_machine(run.world.unique("stranger"), server.project_id)
        token = identity.token(key, server.project_id)
    assert not logins.visit(run, token).let_in, "somebody who was never enrolled was let in"


@who_gets_in.step("Come with the device's own key after its role was taken away", look_at=("callout",))
def role_taken(run: Run) -> None:
    """It is kept out, though it is enrolled and its token is good."""
    with closing(IdentityProbe(run.world)) as identity:
        identity.take_roles(logins.config(run).auth.machine_key.user_id)
    assert not logins.visit(run, logins.token(run)).let_in, "a device without the role was let in"


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A token's header and claims."""
    header, claims = (msgspec.json.decode(_unbase64(part), type=dict[str, Any]) for part in token.split(".")[:2])
    return header, claims


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


what_a_device_may_touch = Scenario(
    id="what-a-device-may-touch",
    title="Let a device touch its own keys only",
    chapter="Rules",
    why="A device that was taken over must harm nobody but itself.",
    devices=2,
)


@what_a_device_may_touch.step("Try its own keys", look_at=("callout",))
def own_keys(run: Run) -> None:
    """They are open to it; it cannot write its desired state, nor its agent's version."""
    mine = run.name("device")
    own = _try(run, _writes(mine), _reads(mine))
    assert own == LoginOutcome(let_in=True), f"the device's own keys are closed to it: {own}"
    orders = (DESIRED_INDEX.subject(mine), DESIRED_STATE.subject(f"{mine}.web"), AGENT_TARGET.subject(mine))
    _closed(run, publish=orders)


@what_a_device_may_touch.step("Try the neighbour's keys", look_at=("callout",))
def neighbours_keys(run: Run) -> None:
    """They can neither be read nor written, and what is answered to the neighbour cannot be heard."""
    others = run.name("device2")
    inbox = f"_INBOX_{others}"
    _closed(run, publish=(*_writes(others), f"{inbox}.1"), subscribe=(*_reads(others), f"{inbox}.>"))


@what_a_device_may_touch.step("Try what belongs to the server", look_at=("callout",))
def servers_own(run: Run) -> None:
    """It can neither ask for streams and other devices' keys, nor listen to everybody."""
    stream = DEVICE_STATE.stream
    operations = ("STREAM.NAMES", f"STREAM.INFO.{stream}", f"CONSUMER.CREATE.{stream}", f"STREAM.MSG.GET.{stream}")
    api = tuple(
        f"$JS.API.{subject}"
        for subject in (*operations, f"DIRECT.GET.{DESIRED_STATE.stream}", f"STREAM.PURGE.{stream}")
    )
    everybody = (">", "*", "_INBOX.>", "$SYS.>", "$JS.API.>", "$KV.>", "$JS.ACK.>", "fleet.changed.>")
    _closed(run, publish=(*api, "$SYS.REQ.SERVER.PING", "_INBOX.1"), subscribe=everybody)


def _try(run: Run, publish: Sequence[str], subscribe: Sequence[str]) -> LoginOutcome:
    return logins.visit(run, logins.token(run), publish=publish, subscribe=subscribe)


def _closed(run: Run, *, publish: Sequence[str] = (), subscribe: Sequence[str] = ()) -> None:
    seen = _try(run, publish, subscribe)
    assert set(seen.no_publish) == set(publish), f"it may write {set(publish) - set(seen.no_publish)}"
    assert set(seen.no_subscribe) == set(subscribe), f"it may read {set(subscribe) - set(seen.no_subscribe)}"


def _writes(device: str) -> tuple[str, ...]:
    """What a device writes, and what it asks to read."""
    subject = DESIRED_STATE.subject(f"{device}.web")
    return (
        DEVICE_STATE.subject(device),
        DEVICE_STATE.subject(f"{device}.web"),
        DEVICE_INFO.subject(device),
        DEVICE_HEARTBEAT.subject(device),
        f"$JS.API.DIRECT.GET.{DESIRED_STATE.stream}.{subject}",
    )


def _reads(device: str) -> tuple[str, ...]:
    return (
        DESIRED_INDEX.subject(device),
        DESIRED_STATE.subject(f"{device}.*"),
        DESIRED_INDEX.notify_subject(device),
        AGENT_TARGET.subject(device),
        f"_INBOX_{device}.>",
    )


sign_in = Scenario(
    id="sign-in",
    title="Keep a login to oneself",
    chapter="Rules",
    why="Whoever reads an admin's token is an admin.",
)


@sign_in.step("Log in", signed_in("fleet login"))
def logged_in(run: Run) -> None:
    """What is kept of the login can be read by its owner only, the folder too."""
    folder = Path(run.world.env["XDG_CONFIG_HOME"]) / "fleet"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert "token" in modes, f"no token is kept in {folder}"
    open_to_all = [f"{name} has mode {mode:o}" for name, mode in modes.items() if mode & 0o077]
    assert not open_to_all, ", ".join(open_to_all)
