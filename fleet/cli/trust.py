"""The servers that may get this admin's credentials: the announcement of each at its first use, kept by the admin.

A server's ConfigMap names the issuer, the authority and NATS' address. Whoever may write it must not thereby get the
admin's token or the publisher's password: decision 035.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from fleet.cli.output import progress
from fleet.cli.store import config_folder, follow, made_folder
from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.contract.wire import decode, encode

if TYPE_CHECKING:
    from pathlib import Path

    from fleet.contract.objects import ServerInfo

_SHA256 = "sha256:"


class Trusted(msgspec.Struct, frozen=True, rename="camel"):
    """To whom credentials go: the issuer's URL, the SHA-256 of the authorities' PEM, NATS' URL, and for which server.

    `server_id` decides which identities are this server's to delete; a server of a former release has none.
    """

    issuer: str
    authority: str
    nats_url: str
    server_id: str = ""

    @classmethod
    def of(cls, server: ServerInfo) -> Trusted:
        """A server's announcement."""
        return cls(server.issuer, _fingerprint(server.ca), server.nats_url, server.server_id)

    def named(self) -> dict[str, str]:
        """By the options of `fleet server trust`."""
        return {
            "--issuer": self.issuer,
            "--authority": self.authority,
            "--nats-url": self.nats_url,
            "--server-id": self.server_id,
        }


class _Pin(msgspec.Struct, frozen=True):
    """`confirmed` when a person named it, by an install or by `fleet server trust`; else it was the first use."""

    trusted: Trusted
    confirmed: bool


class _Pins(msgspec.Struct):
    """`servers` by cluster and namespace; `tokens` by SHA-256: the issuers and authorities that each was sent to."""

    servers: dict[str, _Pin] = {}
    tokens: dict[str, list[tuple[str, str]]] = {}


def server_key(host: str, namespace: str) -> str:
    """Which server is meant, in words of the admin's own kubeconfig: nothing that a server says of itself is in it."""
    return f"{host}/{namespace}"


def confirm(key: str, server: ServerInfo) -> bool:
    """Trust what a person has named; returns whether it was new. A login that counted with this server goes on to.

    Its token goes to the same issuer as before, and to nobody whom the person has not named: a new login would, too.
    """
    pin = _Pin(Trusted.of(server), confirmed=True)
    with _kept() as pins:
        before = pins.servers.get(key)
        pins.servers[key] = pin
    if before is not None and before.trusted.issuer == server.issuer:
        follow(server.issuer, before.trusted.authority.removeprefix(_SHA256), server.ca)
    return before != pin


def known(key: str) -> Trusted | None:
    """The trusted announcement of a server."""
    pin = _read(_path()).servers.get(key)
    return pin.trusted if pin else None


def explained(key: str, server: ServerInfo, bundles: Sequence[str]) -> bool:
    """Whether a server differs from what is trusted by its certificates alone, and both are among its `bundles`."""
    pin = _read(_path()).servers.get(key)
    if pin is None or server.ca not in bundles:
        return False
    same = msgspec.structs.replace(pin.trusted, authority=_fingerprint(server.ca)) == Trusted.of(server)
    return same and pin.trusted.authority in {_fingerprint(bundle) for bundle in bundles}


def forget(key: str) -> None:
    """A server is gone for good: the next one of that name is a new one."""
    if key in _read(_path()).servers:
        with _kept() as pins:
            pins.servers.pop(key, None)


def check(key: str, server: ServerInfo, token: str = "") -> None:
    """Refuse to send a credential to others than at first use; the first use is remembered, and told.

    Args:
        key: See `server_key`.
        server: What its ConfigMap says.
        token: An admin's access token that comes from a file, which is bound to whom it was sent to first; a secret.

    Raises:
        NotPermitted: the server says something else than before, or the token belongs elsewhere.
    """
    seen = Trusted.of(server)
    with _kept() as pins:
        pin = pins.servers.get(key)
        if pin is not None and not pin.trusted.server_id:  # the server has been brought to a release that has ids
            pin = pins.servers[key] = msgspec.structs.replace(
                pin, trusted=msgspec.structs.replace(pin.trusted, server_id=seen.server_id)
            )
        if pin is not None and pin.trusted != seen:
            raise _changed(key, pin.trusted, seen)
        if pin is None:
            pin = pins.servers[key] = _Pin(seen, confirmed=False)
            progress(f"first use of {key}: from now on credentials go only to {seen.issuer} and {seen.nats_url}")
        if token:
            _bind(pins, key, pin, token)


def _bind(pins: _Pins, key: str, pin: _Pin, token: str) -> None:
    wanted = pin.trusted.issuer, pin.trusted.authority
    bound = pins.tokens.setdefault(_fingerprint(token), [])
    if wanted in bound:
        return
    if bound and not pin.confirmed:
        pins.servers.pop(key, None)
        raise NotPermitted(
            f"this token was given for {bound[0][0]}, and {key} asks for it in the name of {wanted[0]}, "
            f"with the authority {wanted[1]}; nothing was sent",
            next_step=f"ask who runs that server, then {_command(pin.trusted.named())}",
        )
    bound.append(wanted)


def _changed(key: str, before: Trusted, now: Trusted) -> NotPermitted:
    old, new = before.named(), now.named()
    differs = {option: value for option, value in new.items() if old[option] != value}
    what = ", ".join(f"{option[2:]} {old[option]} to {value}" for option, value in differs.items())
    return NotPermitted(
        f"{key} has changed since you used it first: {what}; nothing was sent",
        next_step=f"ask who runs that server; if it is right, {_command(differs)}",
    )


def _command(options: dict[str, str]) -> str:
    return "`" + " ".join(["fleet server trust", *(f"{name} {value}" for name, value in options.items())]) + "`"


def _fingerprint(text: str) -> str:
    return f"{_SHA256}{hashlib.sha256(text.encode()).hexdigest()}"


def _path() -> Path:
    return config_folder() / "trusted.json"


def _read(path: Path) -> _Pins:
    try:
        return decode(path.read_bytes(), _Pins)
    except FileNotFoundError:
        return _Pins()
    except OSError as error:
        raise NotPermitted(f"cannot read {path}: {error.strerror}", next_step="make it yours, mode 0600") from error
    except InvalidInput as error:
        raise InvalidInput(
            f"{path} is damaged: {error.what}", next_step="restore it, or remove it to begin anew with every server"
        ) from error


@contextmanager
def _kept() -> Generator[_Pins]:
    """The pins, to be changed; one command at a time writes them, and an error leaves the file as it was."""
    from fleet.process.durable import replace_file  # noqa: PLC0415

    path = made_folder() / "trusted.json"
    lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pins = _read(path)
        before = encode(pins)
        yield pins
        if encode(pins) != before:
            replace_file(path, encode(pins), 0o600, shared=True)
    except OSError as error:
        raise NotPermitted(
            f"cannot write {path}: {error.strerror}, so nobody would know later whom this credential is for",
            next_step="set XDG_CONFIG_HOME to a folder that you may write to",
        ) from error
    finally:
        os.close(lock)
