"""Management of machine users' personal access tokens."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.doubles.zitadel import crypto
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import FAILED_PRECONDITION, NOT_FOUND, ApiError
from harness.doubles.zitadel.guard import Search, details, expiry, result, timestamp, user_of
from harness.doubles.zitadel.records import Pat
from harness.doubles.zitadel.tokens import PAT_SCOPES, pat_shows

Json = dict[str, Any]


class AddPat(msgspec.Struct, rename="camel"):
    """`POST /users/{id}/pats`."""

    expiration_date: str = ""


async def add(call: Call) -> Json:
    """Create a personal access token; it is shown once, here."""
    user, body = user_of(call), await call.json(AddPat)
    if not user.machine:
        raise ApiError(FAILED_PRECONDITION, "Personal Access Token cannot be generated for this user", "COMMAND-Df2f1")
    token, expires = crypto.new_secret(), expiry(call, body.expiration_date)
    pat = Pat(id=call.instance.new_id(), user=user.id, expires=expires, visible=call.appears())
    call.instance.pats[crypto.digest(token)] = pat
    call.instance.touch(pat)
    await call.save()
    return {"tokenId": pat.id, "token": token, "details": details(call, pat)}


async def search(call: Call) -> Json:
    """`POST /users/{id}/pats/_search`. The tokens themselves are not shown."""
    user, asked = user_of(call), await call.json(Search)
    pats = [pat for pat in call.instance.pats.values() if pat.user == user.id and pat_shows(call, pat)]
    rows = [
        {
            "id": pat.id,
            "details": details(call, pat),
            "expirationDate": timestamp(pat.expires),
            "scopes": list(PAT_SCOPES),
        }
        for pat in pats
    ]
    return result(call, [({}, row) for row in rows], asked)


async def remove(call: Call) -> Json:
    """`DELETE /users/{id}/pats/{id}`. It works until the projections have caught up."""
    user, instance, pat_id = user_of(call), call.instance, call.param("pat")
    matching = (item for item in instance.pats.items() if item[1].user == user.id and item[1].id == pat_id)
    digest, pat = next(matching, ("", None))
    if pat is None or pat.gone:
        raise ApiError(NOT_FOUND, "Personal Access Token not found", "COMMAND-4m77G")
    pat.gone = call.appears()
    if not call.modes.lag:
        del instance.pats[digest]
    instance.touch(pat)
    await call.save()
    return {"details": details(call, pat)}
