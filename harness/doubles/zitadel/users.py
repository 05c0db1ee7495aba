"""Management of users: machines, their keys and tokens, their states, and the roles granted to them."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any

import msgspec

from harness.doubles.zitadel import crypto
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    ApiError,
)
from harness.doubles.zitadel.guard import Search, Text, details, expiry, required, result, timestamp, user_of
from harness.doubles.zitadel.records import ACTIVE, BEARER, INACTIVE, JWT, LOCKED, User, UserKey

Json = dict[str, Any]


class AddMachine(msgspec.Struct, rename="camel"):
    """`POST /users/machine`."""

    user_name: Text = ""
    name: Text = ""
    description: str = ""
    access_token_type: str | int = BEARER
    user_id: Text = ""


async def add_machine(call: Call) -> Json:
    """Create a machine user."""
    body = await call.json(AddMachine)
    name = required(body.user_name, "AddMachineUserRequest.UserName")
    required(body.name, "AddMachineUserRequest.Name")
    kind = {0: BEARER, 1: JWT}.get(body.access_token_type) if isinstance(body.access_token_type, int) else None
    kind = kind or body.access_token_type
    if kind not in (BEARER, JWT):
        raise ApiError(INVALID_ARGUMENT, "proto: invalid value for enum field accessTokenType")
    users = call.instance.users
    if any(user.user_name == name for user in users.values()) or body.user_id in users:
        raise ApiError(ALREADY_EXISTS, "User already exists", "SQL-M0dsf")
    user = User(
        id=body.user_id or call.instance.new_id(),
        user_name=name,
        name=body.name,
        description=body.description,
        machine=True,
        token_type=str(kind),
        visible=call.appears(),
    )
    users[user.id] = user
    call.instance.touch(user)
    await call.save()
    return {"userId": user.id, "details": details(call, user)}


async def search_users(call: Call) -> Json:
    """`POST /users/_search`."""
    search = await call.json(Search)
    users = [user for user in call.instance.users.values() if call.visible(user.visible)]
    ghosts = [user for user in call.instance.ghosts.values() if not call.visible(user.gone)]
    return result(call, [({"userNameQuery": user.user_name}, _shown(call, user)) for user in users + ghosts], search)


async def get_user(call: Call) -> Json:
    """`GET /users/{id}`."""
    ghost = call.instance.ghosts.get(call.param("user"))
    return {"user": _shown(call, ghost if ghost and not call.visible(ghost.gone) else user_of(call))}


def _shown(call: Call, user: User) -> Json:
    shown: Json = {
        "id": user.id,
        "details": details(call, user),
        "state": f"USER_STATE_{user.state}",
        "userName": user.user_name,
        "loginNames": [user.user_name],
        "preferredLoginName": user.user_name,
    }
    if not user.machine:
        return {**shown, "human": {"profile": {"displayName": user.name}}}
    machine = {"name": user.name, "description": user.description}
    if user.token_type == JWT:
        machine["accessTokenType"] = JWT
    return {**shown, "machine": {name: value for name, value in machine.items() if value}}


CHANGES = {
    "_deactivate": ((ACTIVE, LOCKED), INACTIVE, "User is already inactive", "COMMAND-5M0sf"),
    "_reactivate": ((INACTIVE,), ACTIVE, "User is not inactive", "COMMAND-s9SE1"),
    "_lock": ((ACTIVE,), LOCKED, "User is already locked", "COMMAND-3NN8v"),
    "_unlock": ((LOCKED,), ACTIVE, "User is not locked", "COMMAND-4M9ds"),
}
"""Action: from which states, to which, and what is said to any other state."""


async def change_state(call: Call) -> Json:
    """`POST /users/{id}/_deactivate`, `_reactivate`, `_lock`, `_unlock`. Leaving ACTIVE ends every session."""
    user = user_of(call)
    allowed, following, message, place = CHANGES[call.request.url.path.rpartition("/")[2]]
    if user.state not in allowed:
        raise ApiError(FAILED_PRECONDITION, message, place)
    user.state = following
    if following != ACTIVE:
        call.instance.end_sessions(user.id)
    call.instance.touch(user)
    await call.save()
    return {"details": details(call, user)}


async def remove_user(call: Call) -> Json:
    """`DELETE /users/{id}`: with its keys, tokens and grants."""
    user, instance = user_of(call), call.instance
    del instance.users[user.id]
    instance.end_sessions(user.id)
    instance.pats = {key: pat for key, pat in instance.pats.items() if pat.user != user.id}
    instance.grants = {key: grant for key, grant in instance.grants.items() if grant.user != user.id}
    instance.touch(user)
    user.gone = call.appears()
    instance.ghosts = {key: old for key, old in instance.ghosts.items() if not call.visible(old.gone)}
    if call.modes.lag:
        instance.ghosts[user.id] = user
    await call.save()
    return {"details": details(call, user)}


class AddKey(msgspec.Struct, rename="camel"):
    """`POST /users/{id}/keys`."""

    type: str | int = ""
    expiration_date: str = ""
    public_key: str = ""


async def add_key(call: Call) -> Json:
    """Create a machine key; the private half is shown once, here, unless the caller keeps it."""
    user, body = user_of(call), await call.json(AddKey)
    if body.type not in ("KEY_TYPE_JSON", 1):
        raise ApiError(INVALID_ARGUMENT, "invalid AddMachineKeyRequest.Type: value must not be unspecified")
    expires = expiry(call, body.expiration_date)
    private = "" if body.public_key else await asyncio.to_thread(crypto.new_private_key)
    public = crypto.public_of(private) if private else _given_public(body.public_key)
    key = UserKey(id=call.instance.new_id(), public=public, expires=expires, visible=call.appears())
    user.keys[key.id] = key
    call.instance.touch(key)
    await call.save()
    answer: Json = {"keyId": key.id, "details": details(call, key)}
    if private:
        answer["keyDetails"] = crypto.base64_text(_key_file(user, key, private))
    return answer


def _given_public(text: str) -> str:
    try:
        pem = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ApiError(INVALID_ARGUMENT, "proto: invalid value for bytes field publicKey") from error
    if not crypto.is_public_rsa(pem):
        raise ApiError(INVALID_ARGUMENT, "Public key is not valid", "COMMAND-WDWlG")
    return pem


def _key_file(user: User, key: UserKey, private: str) -> bytes:
    file = {"type": "serviceaccount", "keyId": key.id, "key": private}
    return msgspec.json.encode({**file, "expirationDate": timestamp(key.expires), "userId": user.id})


async def search_keys(call: Call) -> Json:
    """`POST /users/{id}/keys/_search`."""
    user, search = user_of(call), await call.json(Search)
    keys = [key for key in user.keys.values() if call.visible(key.visible)]
    rows = [
        {
            "id": key.id,
            "details": details(call, key),
            "type": "KEY_TYPE_JSON",
            "expirationDate": timestamp(key.expires),
        }
        for key in keys
    ]
    return result(call, [({}, row) for row in rows], search)


async def remove_key(call: Call) -> Json:
    """`DELETE /users/{id}/keys/{key}`. Tokens that it got stay good."""
    key = user_of(call).keys.pop(call.param("key"), None)
    if key is None:
        raise ApiError(NOT_FOUND, "Machine key not found", "COMMAND-m77Dc")
    call.instance.touch(key)
    await call.save()
    return {"details": details(call, key)}
