"""The device flow (RFC 8628): codes, polling, and the page on which a person allows or denies."""

from __future__ import annotations

import html
import secrets
from typing import Any
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response

from harness.doubles.zitadel import crypto, tokens
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import OAuthError
from harness.doubles.zitadel.records import ACTIVE, App, DeviceCode

Json = dict[str, Any]

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, hence no words; RFC 8628 section 6.1 proposes them."""
_KEPT_AFTER_EXPIRY = 3600
"""Seconds for which an expired code still differs from an unknown one."""

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Device login</title>
<style>body{{font:16px system-ui;max-width:26em;margin:3em auto;padding:0 1em}}label{{display:block;margin:.8em 0}}
input{{display:block;width:100%;font:inherit;padding:.4em;box-sizing:border-box}}button{{font:inherit;padding:.5em 1em}}
</style><h1>Device login</h1><p role="status">{message}</p>{form}</html>"""
_FORM = """<form method="post" action="/device">
<label>Code shown on your device<input name="user_code" value="{code}" autocomplete="off" required></label>
<label>Login name<input name="login_name" value="{login}" autocomplete="username" required></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required></label>
<button name="action" value="allow">Allow</button> <button name="action" value="deny">Deny</button></form>"""


async def authorize(call: Call) -> Json:
    """`/oauth/v2/device_authorization`."""
    form = await call.form()
    app = _device_app(call, form.get("client_id", ""))
    if app is None:
        raise OAuthError("invalid_client", "client not found")
    letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
    made = DeviceCode(
        id=secrets.token_urlsafe(32),
        user_code=f"{letters[:4]}-{letters[4:]}",
        client=app.client_id,
        scopes=tokens.known(form.get("scope", "")),
        expires=call.now + call.modes.device_lifetime,
    )
    codes = call.instance.device_codes.values()
    kept = {code.id: code for code in codes if code.expires > call.now - _KEPT_AFTER_EXPIRY}
    call.instance.device_codes = {**kept, made.id: made}
    call.instance.touch(made)
    await call.save()
    page = f"{call.issuer}/device"
    return {
        "device_code": made.id,
        "user_code": made.user_code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?{urlencode({'user_code': made.user_code})}",
        "expires_in": call.modes.device_lifetime,
        "interval": call.modes.device_interval,
    }


def _device_app(call: Call, client_id: str) -> App | None:
    app = call.instance.app(client_id)
    return app if app is not None and "OIDC_GRANT_TYPE_DEVICE_CODE" in app.grant_types else None


async def device_token(call: Call, form: dict[str, str]) -> Json:
    """A poll of the token endpoint."""
    app = _device_app(call, form.get("client_id", ""))
    if app is None:
        raise OAuthError("invalid_client", "client not found")
    if call.modes.slow_down:
        call.modes.slow_down -= 1
        raise OAuthError("slow_down", "Polling should be continued, but the interval must be increased by 5 seconds.")
    code = call.instance.device_codes.get(form.get("device_code", ""))
    if code is None or code.client != app.client_id or code.state in {"denied", "used"}:
        denied = code is not None and code.state == "denied"
        raise OAuthError("access_denied" if denied else call.modes.device_errors.value, "The authorization was denied.")
    if code.state == "pending":
        if code.expires <= call.now:
            raise OAuthError("expired_token", "The device_code has expired.")
        raise OAuthError("authorization_pending", "The client SHOULD repeat the access token request.")
    user = call.instance.users.get(code.user)
    if user is None or user.state != ACTIVE:
        raise OAuthError("invalid_request", "Errors.User.NotActive")
    call.caller = user
    code.state = "used"
    return await tokens.issue(call, user, code.scopes, app)


async def page(call: Call) -> Response:
    """`GET /device`: asks a person; the code may come with the link."""
    return _page("An application asks to act for you.", call.request.query_params.get("user_code", ""))


async def decide(call: Call) -> Response:
    """`POST /device`: the person's answer. Wrong names, passwords and codes have the same status."""
    form = await call.form()
    typed, login = form.get("user_code", "").strip().upper(), form.get("login_name", "").strip()
    code = next((code for code in call.instance.device_codes.values() if code.user_code == typed), None)
    if code is None or code.state != "pending" or code.expires <= call.now:
        return _page("This code is unknown, used or expired. Ask for a new one on the device.", "", login, 400)
    users = call.instance.users.values()
    user = next((user for user in users if user.user_name == login and not user.machine), None)
    if user is None or user.state != ACTIVE or not crypto.password_matches(form.get("password", ""), user.password):
        return _page("Login name or password is wrong.", typed, login, 401)
    if form.get("action") not in {"allow", "deny"}:
        return _page("Choose Allow or Deny.", typed, login, 400)
    allowed = form["action"] == "allow"
    code.state, code.user = ("approved" if allowed else "denied"), user.id
    call.caller = user
    call.instance.touch(code)
    await call.save()
    message = "Allowed. You can close this page." if allowed else "Denied. Nothing was granted."
    return HTMLResponse(_PAGE.format(message=message, form=""))


def _page(message: str, code: str, login: str = "", status: int = 200) -> Response:
    form = _FORM.format(code=html.escape(code), login=html.escape(login))
    return HTMLResponse(_PAGE.format(message=html.escape(message), form=form), status)
