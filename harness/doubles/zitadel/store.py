"""Instances on disk: one JSON file each, mode 0600, replaced whole before a change is answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet

from harness.doubles.zitadel import crypto
from harness.doubles.zitadel.records import ACTIVE, INITIAL, NEVER, Instance, Pat, Record, User, WebKey
from harness.errors import HarnessError, of_os_error

ADMIN_LOGIN = "admin@fleet.{domain}"


class Files:
    """Where an instance's files lie."""

    def __init__(self, root: Path, domain: str) -> None:
        """`root` is the double's state directory."""
        self.directory = root / domain
        self.state = self.directory / "state.json"
        self.token = self.directory / "admin.pat"
        self.password = self.directory / "admin.password"


class Store:
    """The instances, by domain; the first one is the main one."""

    def __init__(self, root: Path, domains: Sequence[str]) -> None:
        """Read the instances, and make those that do not exist yet.

        Raises:
            HarnessError: a state file is unreadable or not one of ours.
        """
        self.files = {domain: Files(root, domain) for domain in domains}
        self.instances = {domain: _open(files, domain) for domain, files in self.files.items()}
        self._locks = {domain: asyncio.Lock() for domain in domains}
        self._asked = dict.fromkeys(domains, 0)
        self._written = dict.fromkeys(domains, 0)

    async def save(self, instance: Instance) -> None:
        """Return once what `instance` holds now is on disk; calls that wait together share one write."""
        domain = instance.domain
        self._asked[domain] += 1
        mine = self._asked[domain]
        async with self._locks[domain]:
            if self._written[domain] >= mine:
                return
            upto, data = self._asked[domain], msgspec.json.encode(instance)
            await asyncio.to_thread(write_secret, self.files[domain].state, data)
            self._written[domain] = upto


def write_secret(path: Path, data: bytes) -> None:
    """Replace a file, mode 0600, so that no reader ever sees half of it.

    Raises:
        HarnessError: the disk is full, or the directory is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise of_os_error(error, "the Zitadel double writes its state", path) from error


def _open(files: Files, domain: str) -> Instance:
    try:
        instance = msgspec.json.decode(files.state.read_bytes(), type=Instance)
    except FileNotFoundError:
        instance = _new_instance(domain)
    except (OSError, msgspec.DecodeError) as error:
        raise HarnessError(
            f"{files.state} is not a state of the Zitadel double: {error}", next_step="remove it to begin anew"
        ) from error
    # A state without its administrator's files is of no use; the files can be had again, the secrets cannot.
    if not (files.token.exists() and files.password.exists()):
        _give_admins(instance, files)
        write_secret(files.state, msgspec.json.encode(instance))
    return instance


def _new_instance(domain: str) -> Instance:
    instance = Instance(
        domain=domain, secret=Fernet.generate_key().decode(), organisation=Record(id=""), own_project=""
    )
    instance.organisation.id, instance.own_project = instance.new_id(), instance.new_id()
    instance.touch(instance.organisation)
    return instance


def _give_admins(instance: Instance, files: Files) -> None:
    token, password = crypto.new_secret(), crypto.new_secret()
    login = ADMIN_LOGIN.format(domain=instance.domain)
    human = _admin(instance, login, "Fleet Administrator", machine=False)
    human.password = crypto.hash_password(password)
    machine = _admin(instance, "fleet-admin", "Fleet Installer", machine=True)
    instance.pats[crypto.digest(token)] = Pat(id=instance.new_id(), user=machine.id, expires=NEVER, created=time.time())
    write_secret(files.token, f"{token}\n".encode())
    write_secret(files.password, f"{password}\n".encode())


def _admin(instance: Instance, user_name: str, name: str, *, machine: bool) -> User:
    existing = next((user for user in instance.users.values() if user.user_name == user_name), None)
    user = existing or User(id=instance.new_id(), user_name=user_name, name=name, machine=machine, admin=True)
    instance.users[user.id] = user
    instance.touch(user)
    return user


async def web_keys(instance: Instance) -> list[WebKey]:
    """The instance's keys, made at first use so that an instance nobody asks costs nothing."""
    if not instance.web_keys:
        keys = [await asyncio.to_thread(crypto.new_private_key) for _ in range(2)]
        # Another call may have been first while this one waited.
        if not instance.web_keys:
            instance.web_keys = [_web_key(instance, keys[0], ACTIVE), _web_key(instance, keys[1], INITIAL)]
    return instance.web_keys


async def rotate(instance: Instance) -> None:
    """Activate the next web key: INITIAL to ACTIVE, ACTIVE to INACTIVE, and a new INITIAL one."""
    keys = await web_keys(instance)
    following = _web_key(instance, await asyncio.to_thread(crypto.new_private_key), INITIAL)
    for key in keys:
        key.state = {INITIAL: ACTIVE}.get(key.state, "INACTIVE")
    keys.append(following)


def _web_key(instance: Instance, private: str, state: str) -> WebKey:
    key = WebKey(id=instance.new_id(), private=private, state=state)
    instance.touch(key)
    return key
