"""Discovery, the key set, the token endpoint, introspection and userinfo."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any
from urllib.parse import unquote_plus

from starlette.responses import JSONResponse, Response

from harness.doubles.zitadel import authorize, crypto, tokens
from harness.doubles.zitadel.assertion import user_of
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.device import GRANT as DEVICE_GRANT
from harness.doubles.zitadel.device import device_token
from harness.doubles.zitadel.errors import OAuthError
from harness.doubles.zitadel.records import App, Token
from harness.doubles.zitadel.store import web_keys

Json = dict[str, Any]

JWT_PROFILE_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


async def discovery(call: Call) -> Json:
    """`/.well-known/openid-configuration`."""
    issuer = call.issuer
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/v2/authorize",
        "token_endpoint": f"{issuer}/oauth/v2/token",
        "introspection_endpoint": f"{issuer}/oauth/v2/introspect",
        "userinfo_endpoint": f"{issuer}/oidc/v1/userinfo",
        "revocation_endpoint": f"{issuer}/oauth/v2/revoke",
        "end_session_endpoint": f"{issuer}/oidc/v1/end_session",
        "device_authorization_endpoint": f"{issuer}/oauth/v2/device_authorization",
        "jwks_uri": f"{issuer}/oauth/v2/keys",
        "grant_types_supported": [authorize.GRANT, JWT_PROFILE_GRANT, DEVICE_GRANT],
        "response_types_supported": ["code", "id_token", "id_token token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "phone", "address", "offline_access"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
    }


async def keys(call: Call) -> Response:
    """The key set: every web key that was not withdrawn, whatever its state."""
    body = {"keys": [crypto.jwk(key) for key in await web_keys(call.instance)]}
    await call.save()
    return JSONResponse(body, headers={"Cache-Control": "max-age=300, must-revalidate"})


async def token(call: Call) -> Json:
    """`/oauth/v2/token`: the JWT profile (RFC 7523), the device flow (RFC 8628) and the code flow (RFC 6749)."""
    form = await call.form() if call.request.method == "POST" else {}
    grant = form.get("grant_type", "")
    if not grant:
        raise OAuthError("invalid_request", "grant_type missing")
    if grant == JWT_PROFILE_GRANT:
        return await _jwt_profile(call, form)
    if grant == DEVICE_GRANT:
        return await device_token(call, form)
    if grant == authorize.GRANT:
        return await authorize.exchange(call, form)
    raise OAuthError("unsupported_grant_type", f"{grant[:100]} not supported")


async def _jwt_profile(call: Call, form: dict[str, str]) -> Json:
    assertion = form.get("assertion", "")
    if not assertion:
        raise OAuthError("invalid_request", "assertion missing")
    user = user_of(call, assertion)
    call.caller = user
    if not form.get("scope", "").split():
        raise OAuthError("invalid_request", "The scope of your request is missing.")
    return await tokens.issue(call, user, tokens.known(form["scope"]))


async def introspect(call: Call) -> Json:
    """`/oauth/v2/introspect` (RFC 7662): the client must prove itself, and all else is merely not active."""
    form = await call.form()
    client = _authenticated_client(call, form)
    found = await tokens.find(call, form.get("token", ""))
    if found is None:
        return {"active": False}
    # Zitadel lets every client look at a personal access token.
    if not found.pat and not {client.client_id, client.project} & set(found.audience):
        return {"active": False}
    return {
        "active": True,
        "scope": " ".join(found.scopes),
        "client_id": found.client,
        "token_type": "Bearer",
        "exp": found.expires,
        "iat": found.issued,
        "nbf": found.issued,
        "aud": list(found.audience),
        "iss": call.issuer,
        "jti": found.id,
        **_user_claims(call, found),
        **tokens.role_claims(call, found, client),
    }


async def userinfo(call: Call) -> Json:
    """`/oidc/v1/userinfo`."""
    scheme, _, text = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise OAuthError("invalid_request", "access token missing", 401)
    found = await tokens.find(call, text)
    if found is None:
        raise OAuthError("access_denied", "access token invalid", 401)
    call.caller = call.instance.users[found.user]
    return {**_user_claims(call, found), **tokens.role_claims(call, found, call.instance.app(found.client))}


def _user_claims(call: Call, found: Token) -> Json:
    user = call.instance.users[found.user]
    profile: Json = {"name": user.name, "preferred_username": user.user_name, "updated_at": int(user.changed)}
    return {"sub": user.id, **(profile if "profile" in found.scopes else {})}


def _authenticated_client(call: Call, form: dict[str, str]) -> App:
    client_id, secret = _credentials(call, form)
    if not client_id:
        raise OAuthError("invalid_request", "client_id or client_assertion must be provided")
    client = call.instance.app(client_id)
    good = client is not None and client.secret and hmac.compare_digest(client.secret, crypto.digest(secret))
    if client is None or not good:
        raise OAuthError("unauthorized_client", "Unauthorized")
    return client


def _credentials(call: Call, form: dict[str, str]) -> tuple[str, str]:
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        name, _, secret = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise OAuthError("unauthorized_client", "invalid basic auth header") from error
    return unquote_plus(name), unquote_plus(secret)
