"""The control endpoints under `/_double/`: how a test plays a bad day. Only the main administrator may."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.doubles.zitadel import modes, tokens
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import INVALID_ARGUMENT, PERMISSION_DENIED, ApiError
from harness.doubles.zitadel.store import rotate, web_keys

Json = dict[str, Any]


async def require_main_admin(call: Call) -> None:
    """Let the first domain's administrators pass. The clock mode does not matter here, or it could not be undone."""
    scheme, _, text = call.request.headers.get("authorization", "").partition(" ")
    main = next(iter(call.store.instances.values()))
    main_call = Call(call.request, main, call.store, modes.Modes())
    token = await tokens.find(main_call, text) if scheme.lower() == "bearer" else None
    if token is None or not main.users[token.user].admin:
        raise ApiError(PERMISSION_DENIED, "only the main administrator controls the double")
    call.caller = main.users[token.user]


async def show_modes(call: Call) -> Json:
    """`GET /_double/modes`."""
    return msgspec.to_builtins(call.modes)


async def rotate_keys(call: Call) -> Json:
    """`POST /_double/keys/rotate`, of the instance that the Host names."""
    await rotate(call.instance)
    return await _keys(call)


async def withdraw_inactive(call: Call) -> Json:
    """`DELETE /_double/keys/inactive`, of the instance that the Host names."""
    call.instance.web_keys = [key for key in await web_keys(call.instance) if key.state != "INACTIVE"]
    return await _keys(call)


async def _keys(call: Call) -> Json:
    await call.save()
    return {"keys": [{"id": key.id, "state": key.state} for key in call.instance.web_keys]}


async def parse_modes(call: Call) -> modes.Modes:
    """The modes that a PATCH asks for.

    Raises:
        ApiError: an unknown mode or a value out of range; nothing is changed.
    """
    try:
        return modes.changed(call.modes, await call.body())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(INVALID_ARGUMENT, f"no such mode or value: {error}") from error
