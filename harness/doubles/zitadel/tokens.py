"""Access tokens: what is in them, and which still works."""

from __future__ import annotations

import time
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from harness.doubles.zitadel import crypto
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.records import ACTIVE, JWT, App, Pat, Token, User, WebKey
from harness.doubles.zitadel.store import web_keys

Json = dict[str, Any]

ROLES = "urn:zitadel:iam:org:project:roles"
"""A claim, never a scope."""
_ALL_ROLES = "urn:zitadel:iam:org:projects:roles"
_ROLE = "urn:zitadel:iam:org:project:role:"
_PROJECT, _AUDIENCE = "urn:zitadel:iam:org:project:id:", ":aud"
PAT_SCOPES = ("openid",)
"""The scopes of every personal access token."""
_KNOWN_SCOPES = ("openid", "profile", "email", "phone", "address", "offline_access")


def known(scope: str) -> tuple[str, ...]:
    """The scopes asked for that mean something; the others are dropped."""
    return tuple(word for word in scope.split() if word in _KNOWN_SCOPES or word.startswith("urn:zitadel:iam:"))


def audience(call: Call, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """The projects that scopes ask for. Any id is taken, as by Zitadel (zitadel#9515): the roles decide."""
    requested = [
        scope.removeprefix(_PROJECT).removesuffix(_AUDIENCE)
        for scope in scopes
        if scope.startswith(_PROJECT) and scope.endswith(_AUDIENCE)
    ]
    own = call.instance.own_project
    return tuple(dict.fromkeys(own if project == "zitadel" else project for project in requested))


async def issue(call: Call, user: User, scopes: tuple[str, ...], app: App | None = None, nonce: str = "") -> Json:
    """The token endpoint's answer: a new token for `user`, by itself or through a client, whose `nonce` comes back."""
    instance, now = call.instance, int(call.now)
    _forget_expired(call)
    projects = audience(call, scopes)
    if app is not None:
        projects = tuple(dict.fromkeys((app.client_id, app.project, *projects)))
    token = Token(
        id=f"V2_{instance.new_id()}-at_{instance.new_id()}",
        user=user.id,
        client=app.client_id if app else user.id,
        audience=projects,
        scopes=scopes,
        issued=now,
        expires=now + call.modes.token_lifetime,
    )
    instance.tokens[token.id] = token
    instance.touch(token)
    as_jwt = (app.token_type if app else user.token_type) == JWT
    text = await _jwt(call, token, app) if as_jwt else _opaque(call, token)
    answer: Json = {"access_token": text, "token_type": "Bearer", "expires_in": call.modes.token_lifetime}
    if "openid" in scopes:
        answer["id_token"] = await _id_token(call, token, nonce)
    await call.save()
    return answer


async def _jwt(call: Call, token: Token, app: App | None) -> str:
    claims: Json = {
        "iss": call.issuer,
        "sub": token.user,
        "aud": list(token.audience),
        "exp": token.expires,
        "iat": token.issued,
        "nbf": token.issued,
        "client_id": token.client,
        "jti": token.id,
    }
    if not token.audience:
        del claims["aud"]
    if app is None or app.role_assertion:
        claims |= role_claims(call, token, app)
    return crypto.sign(claims | call.modes.claims, await _active_key(call))


def _opaque(call: Call, token: Token) -> str:
    return Fernet(call.instance.secret).encrypt(f"{token.id}:{token.user}".encode()).decode()


async def _id_token(call: Call, token: Token, nonce: str) -> str:
    claims: Json = {
        "iss": call.issuer,
        "sub": token.user,
        "aud": list(dict.fromkeys((token.client, *token.audience))),
        "exp": token.expires,
        "iat": token.issued,
        "client_id": token.client,
    }
    if nonce:
        claims["nonce"] = nonce
    return crypto.sign(claims, await _active_key(call))


async def _active_key(call: Call) -> WebKey:
    return next(key for key in await web_keys(call.instance) if key.state == ACTIVE)


def role_claims(call: Call, token: Token, app: App | None) -> Json:
    """The role claims of a token, from its scopes and the grants that are active and visible."""
    requested = {scope.removeprefix(_ROLE) for scope in token.scopes if scope.startswith(_ROLE)}
    projects: set[str] = set()
    if requested or _ALL_ROLES in token.scopes:
        projects |= set(audience(call, token.scopes))
    own_project = call.instance.projects.get(app.project) if app else None
    if own_project is not None and (own_project.role_assertion or requested or projects):
        projects.add(own_project.id)
    claims: Json = {}
    for project in projects:
        roles = _granted(call, token.user, project)
        shown = {role: org for role, org in roles.items() if not requested or role in requested}
        if shown:
            claims[f"urn:zitadel:iam:org:project:{project}:roles"] = shown
            if own_project is not None and project == own_project.id:
                claims[ROLES] = shown
    return claims


def _granted(call: Call, user: str, project: str) -> Json:
    org = {call.instance.organisation.id: f"fleet.{call.instance.domain}"}
    grants = (grant for grant in call.instance.grants.values() if (grant.user, grant.project) == (user, project))
    return {role: org for grant in grants if grant.active and call.visible(grant.visible) for role in grant.roles}


async def find(call: Call, text: str) -> Token | None:
    """The token behind `text` if it works now: known, not expired, its user active."""
    token = _personal(call, text) or call.instance.tokens.get(await _token_id(call, text))
    if token is None or token.expires <= call.now:
        return None
    user = call.instance.users.get(token.user)
    return token if user is not None and user.state == ACTIVE else None


def pat_shows(call: Call, pat: Pat) -> bool:
    """Whether the projections have it: it was added, and is not removed, as far as they have caught up."""
    return call.visible(pat.visible) and not (pat.gone and call.visible(pat.gone))


def _personal(call: Call, text: str) -> Token | None:
    pat = call.instance.pats.get(crypto.digest(text))
    if pat is None or not pat_shows(call, pat):
        return None
    return Token(
        id=pat.id,
        user=pat.user,
        client="",
        audience=(call.instance.own_project,),
        scopes=PAT_SCOPES,
        issued=int(pat.created),
        expires=int(pat.expires),
        pat=True,
    )


async def _token_id(call: Call, text: str) -> str:
    parsed = crypto.parse_jwt(text)
    if parsed is None:
        try:
            return Fernet(call.instance.secret).decrypt(text.encode(errors="replace")).decode().rpartition(":")[0]
        except InvalidToken:
            return ""
    header, claims = parsed
    keys = [key for key in await web_keys(call.instance) if key.id == header.get("kid")]
    good = any(crypto.signed_by(text, key.private) for key in keys) and claims.get("iss") == call.issuer
    return str(claims.get("jti", "")) if good else ""


def _forget_expired(call: Call) -> None:
    # An hour's grace: the clock mode may be turned back.
    horizon = min(time.time(), call.now) - 3600
    if any(token.expires < horizon for token in call.instance.tokens.values()):
        kept = {key: token for key, token in call.instance.tokens.items() if token.expires >= horizon}
        call.instance.tokens = kept
