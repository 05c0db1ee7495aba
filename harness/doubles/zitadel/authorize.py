"""The authorization-code flow with PKCE (RFC 6749, section 4.1; RFC 7636): the sign-in page, and the code's exchange.

Zitadel sends browsers to its login pages and back; this is one page of its own, with the fields `login_name` and
`password`. Only public clients that use S256 are played.
"""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
from typing import Any
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response

from harness.doubles.zitadel import crypto, tokens
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import OAuthError
from harness.doubles.zitadel.records import ACTIVE, App, AuthorizationCode

Json = dict[str, Any]

GRANT = "authorization_code"
_LASTS = 600
"""Seconds for which a code can be exchanged."""
_ASKED = ("client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge")
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sign in</title>
<h1>Sign in</h1><p role="status">{message}</p><form method="post" action="/oauth/v2/authorize">{hidden}
<label>Login name<input name="login_name" autocomplete="username" required></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button></form></html>"""


async def page(call: Call) -> Response:
    """`GET /oauth/v2/authorize`: asks a person who they are."""
    query = dict(call.request.query_params)
    _client(call, query)
    if query.get("response_type") != "code" or query.get("code_challenge_method") != "S256":
        raise OAuthError("invalid_request", "only the response type code, with the challenge method S256, is played")
    return _page("An application asks who you are.", query)


async def decide(call: Call) -> Response:
    """`POST /oauth/v2/authorize`: who signs in is sent back with a code."""
    form = await call.form()
    client = _client(call, form)
    login = form.get("login_name", "").strip()
    users = call.instance.users.values()
    user = next((user for user in users if user.user_name == login and not user.machine), None)
    if user is None or user.state != ACTIVE or not crypto.password_matches(form.get("password", ""), user.password):
        return _page("Login name or password is wrong.", form, 401)
    made = AuthorizationCode(
        id=secrets.token_urlsafe(32),
        client=client.client_id,
        user=user.id,
        scopes=tokens.known(form.get("scope", "")),
        redirect_uri=form["redirect_uri"],
        challenge=form.get("code_challenge", ""),
        expires=call.now + _LASTS,
        nonce=form.get("nonce", ""),
    )
    kept = {code.id: code for code in call.instance.authorization_codes.values() if code.expires > call.now}
    call.instance.authorization_codes = {**kept, made.id: made}
    call.caller = user
    call.instance.touch(made)
    await call.save()
    answer = urlencode({"code": made.id, "state": form.get("state", "")})
    return RedirectResponse(f"{made.redirect_uri}?{answer}", status_code=302)


async def exchange(call: Call, form: dict[str, str]) -> Json:
    """The token endpoint's answer to a code, which works once."""
    code = call.instance.authorization_codes.pop(form.get("code", ""), None)
    app = call.instance.app(form.get("client_id", ""))
    if code is None or app is None or code.expires <= call.now:
        raise OAuthError("invalid_grant", "Errors.AuthRequest.NotFound")
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if (code.client, code.redirect_uri, code.challenge) != (app.client_id, form.get("redirect_uri"), challenge):
        raise OAuthError("invalid_grant", "client, redirect_uri or code_verifier does not match")
    user = call.instance.users.get(code.user)
    if user is None or user.state != ACTIVE:
        raise OAuthError("invalid_request", "Errors.User.NotActive")
    call.caller = user
    return await tokens.issue(call, user, code.scopes, app, code.nonce)


def _client(call: Call, query: dict[str, str]) -> App:
    """The client, if the browser may be sent back to where it asks; else nothing is sent there, not even a refusal."""
    app = call.instance.app(query.get("client_id", ""))
    if app is None or "OIDC_GRANT_TYPE_AUTHORIZATION_CODE" not in app.grant_types:
        raise OAuthError("invalid_client", "client not found")
    if query.get("redirect_uri") not in app.redirect_uris:
        raise OAuthError("invalid_request", "The requested redirect_uri is missing in the client configuration.")
    return app


def _page(message: str, query: dict[str, str], status: int = 200) -> Response:
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(query.get(name, ""))}">' for name in _ASKED
    )
    return HTMLResponse(_PAGE.format(message=html.escape(message), hidden=hidden), status)
