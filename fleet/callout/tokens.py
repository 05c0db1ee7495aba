"""Access tokens: from text to claims with a valid signature, or the reason of a refusal."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, cast

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from fleet.callout.decide import Claims, Deny, Reason
from fleet.callout.keys import Keys
from fleet.contract.errors import Unreachable
from fleet.contract.parsing import NOT_JSON

ALGORITHM = "RS256"
"""The only algorithm, with which Zitadel signs. A list to choose from would let a token choose `none`."""
MAX_TOKEN = 12 * 1024
"""Bytes; the NATS server's control line (16 KB) must hold it."""
_MAX_CACHED = 10_000
_REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM])


class _Payload(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    nbf: float = 0
    iat: float = 0
    nonce: Any = None


class Tokens:
    """Verifies tokens of one project, and remembers those with a valid signature."""

    def __init__(self, keys: Keys, project: str) -> None:
        """Verify with `keys`; read the roles from `project`'s claim."""
        self._keys = keys
        self._roles_claim = f"urn:zitadel:iam:org:project:{project}:roles"
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()
        keys.changed = self._verified.clear

    async def verify(self, token: str) -> Claims | Deny:
        """The claims of a token with a valid signature; `decide` accepts or refuses them."""
        if not token:
            return Deny(Reason.NO_TOKEN)
        if len(token) > MAX_TOKEN:
            return Deny(Reason.TOKEN_TOO_LONG)
        # The digest, not the token: this memory outlives the request.
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        if cached := self._verified.get(digest):
            self._verified.move_to_end(digest)
            return cached
        outcome = await self._check(token)
        if isinstance(outcome, Claims):
            self._verified[digest] = outcome
            if len(self._verified) > _MAX_CACHED:
                self._verified.popitem(last=False)
        return outcome

    async def _check(self, token: str) -> Claims | Deny:
        try:
            signed = jws.extract_compact(token.encode("ascii"))
            header = cast("object", signed.headers())
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            return Deny(Reason.TOKEN_MALFORMED)
        if not isinstance(header, dict):
            # joserfc takes any JSON that has the members of an object, and a text or a list has some of them.
            return Deny(Reason.TOKEN_MALFORMED)
        fields = cast("dict[str, object]", header)
        if fields.get("alg") != ALGORITHM:
            return Deny(Reason.ALGORITHM_REFUSED)
        kid = fields.get("kid")
        if not isinstance(kid, str):
            return Deny(Reason.UNKNOWN_KEY)
        return await self._check_signature(signed, kid)

    async def _check_signature(self, signed: jws.CompactSignature, kid: str) -> Claims | Deny:
        try:
            key = await self._keys.find(kid)
        except Unreachable:
            return Deny(Reason.KEYS_UNAVAILABLE)
        if key is None:
            return Deny(Reason.UNKNOWN_KEY)
        try:
            good = jws.validate_compact(signed, key, registry=_REGISTRY)
        except JoseError:
            return Deny(Reason.TOKEN_MALFORMED)
        if not good:
            return Deny(Reason.BAD_SIGNATURE)
        return self._claims(signed.payload or b"")

    def _claims(self, payload: bytes) -> Claims | Deny:
        try:
            known = msgspec.json.decode(payload, type=_Payload)
            roles = msgspec.json.decode(payload, type=dict[str, Any]).get(self._roles_claim)
        except NOT_JSON:
            return Deny(Reason.TOKEN_MALFORMED)
        return Claims(
            issuer=known.iss,
            subject=known.sub,
            audience=(known.aud,) if isinstance(known.aud, str) else tuple(known.aud),
            expires=known.exp,
            not_before=known.nbf,
            issued=known.iat,
            roles=frozenset(cast("dict[str, object]", roles)) if isinstance(roles, dict) else frozenset(),
            nonce=known.nonce if isinstance(known.nonce, str) else "",
        )
