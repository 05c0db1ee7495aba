"""What is written down about users: a value in base64 under each key."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import INVALID_ARGUMENT, NOT_FOUND, ApiError
from harness.doubles.zitadel.guard import details, user_of
from harness.doubles.zitadel.records import Metadata

Json = dict[str, Any]


class SetMetadata(msgspec.Struct):
    """`POST /users/{id}/metadata/{key}`."""

    value: str = ""


async def set_metadata(call: Call) -> Json:
    """Write a value down, over an earlier one."""
    user, body = user_of(call), await call.json(SetMetadata)
    try:
        given = base64.b64decode(body.value, validate=True)
    except binascii.Error as error:
        raise ApiError(INVALID_ARGUMENT, "proto: invalid value for bytes field value") from error
    if not given:
        raise ApiError(INVALID_ARGUMENT, "invalid SetUserMetadataRequest.Value: value length must be at least 1 bytes")
    key = call.param("key")
    entry = user.metadata[key] = Metadata(id=key, value=body.value, visible=call.appears())
    call.instance.touch(entry)
    await call.save()
    return {"id": user.id, "details": details(call, entry)}


async def get_metadata(call: Call) -> Json:
    """`GET /users/{id}/metadata/{key}`."""
    entry = user_of(call).metadata.get(call.param("key"))
    if entry is None or not call.visible(entry.visible):
        raise ApiError(NOT_FOUND, "Metadata not found", "QUERY-Rfh3s")
    return {"metadata": {"details": details(call, entry), "key": entry.id, "value": entry.value}}
