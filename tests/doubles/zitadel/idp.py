"""An identity provider under test: the double, or a real Zitadel that the environment names.

`FLEET_ZITADEL_ISSUER`, `FLEET_ZITADEL_CA_FILE` and `FLEET_ZITADEL_TOKEN_FILE` (an Org Owner's PAT) point the
conformance table at a real one; what it leaves behind are users and projects whose names begin with `conformance-`.
"""

from __future__ import annotations

import base64
import functools
import logging
import os
import secrets
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from joserfc import jwt
from joserfc.jwk import RSAKey

from fleet.contract.config import FleetDeviceAuth, MachineKey
from fleet.identity.tokens import scopes
from harness.doubles.zitadel.app import Audit
from harness.doubles.zitadel.modes import Modes
from harness.doubles.zitadel.serve import Running, running
from harness.wait import wait_until

Json = dict[str, Any]
JWT_PROFILE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
DEVICE_APP: Json = {
    "appType": "OIDC_APP_TYPE_NATIVE",
    "authMethodType": "OIDC_AUTH_METHOD_TYPE_NONE",
    "grantTypes": ["OIDC_GRANT_TYPE_DEVICE_CODE"],
    "responseTypes": ["OIDC_RESPONSE_TYPE_CODE"],
    "accessTokenType": "OIDC_TOKEN_TYPE_JWT",
    "accessTokenRoleAssertion": True,
}


def unique(what: str) -> str:
    """A name nobody used before."""
    return f"conformance-{what}-{secrets.token_hex(5)}"


@functools.cache
def spare_key() -> str:
    """A private key that no issuer knows; made once, for it takes time."""
    return RSAKey.generate_key(2048).as_pem(private=True).decode()


@functools.cache
def _imported(pem: str) -> RSAKey:
    return RSAKey.import_key(pem)


def to_log(line: Json) -> None:
    """An audit that pytest shows with the test that fails."""
    logging.getLogger("fleet.zitadel").info("%s %s %s %s", line["method"], line["path"], line["status"], line["why"])


class Idp:
    """Calls an issuer as an admin, or as nobody in particular."""

    def __init__(self, issuer: str, ca: str, admin_token: str, double: Running | None) -> None:
        self.issuer, self.ca, self.admin_token, self.double = issuer, ca, admin_token, double
        self.http = httpx.Client(base_url=issuer, verify=ssl.create_default_context(cadata=ca or None), timeout=10)

    def manage(self, method: str, path: str, body: Json | None = None, token: str = "") -> httpx.Response:
        """A management call by the admin, or by whoever has another token."""
        headers = {"Authorization": f"Bearer {token or self.admin_token}"}
        return self.http.request(method, f"/management/v1{path}", json=body, headers=headers)

    def made(self, path: str, body: Json) -> Json:
        """The answer to a creation that must succeed."""
        answer = self.manage("POST", path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def token(self, form: Json) -> httpx.Response:
        """A call of the token endpoint."""
        return self.http.post("/oauth/v2/token", data=form)

    def set(self, **modes: object) -> None:
        """Change modes of the double, as an operator of the double would."""
        answer = self.http.patch("/_double/modes", json=modes, headers={"Authorization": f"Bearer {self.admin_token}"})
        assert answer.status_code == 200, answer.text

    def project(self) -> str:
        """A new project with the role `device`."""
        project = self.made("/projects", {"name": unique("project")})["id"]
        self.made(f"/projects/{project}/roles", {"roleKey": "device", "displayName": "Device"})
        return project

    def device(self, project: str, *, expires: str = "", role: bool = True, jwt_tokens: bool = True) -> Device:
        """A new machine user with a key, and the role in the project."""
        kind = {"accessTokenType": "ACCESS_TOKEN_TYPE_JWT"} if jwt_tokens else {}
        user = self.made("/users/machine", {"userName": unique("user"), "name": "Conformance", **kind})["userId"]
        asked = {"type": "KEY_TYPE_JSON", **({"expirationDate": expires} if expires else {})}
        added = self.made(f"/users/{user}/keys", asked)
        key = msgspec.json.decode(base64.b64decode(added["keyDetails"]), type=MachineKey)
        grant = self.made(f"/users/{user}/grants", {"projectId": project, "roleKeys": ["device"]}) if role else {}
        device = Device(self, project, key, str(grant.get("userGrantId", "")))
        if self.double is None:
            device.wait_until_known()
        return device

    def device_app(self, project: str) -> str:
        """The client id of a new application for device logins."""
        return self.made(f"/projects/{project}/apps/oidc", {"name": unique("app"), **DEVICE_APP})["clientId"]


class Device:
    """A machine user, and the assertions it can sign."""

    def __init__(self, idp: Idp, project: str, key: MachineKey, grant: str) -> None:
        self.idp, self.project, self.key, self.grant = idp, project, key, grant
        self.user = key.user_id

    @property
    def auth(self) -> FleetDeviceAuth:
        """What the device would have on disk."""
        return FleetDeviceAuth(self.idp.issuer, self.project, self.key, self.idp.ca)

    def claims(self, **changes: object) -> Json:
        """Good claims, with changes; a value of None leaves the claim out."""
        now = int(time.time())
        good = {"iss": self.user, "sub": self.user, "aud": self.idp.issuer, "iat": now, "exp": now + 600}
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def assertion(self, pem: str = "", header: Json | None = None, **changes: object) -> str:
        """A signed assertion; wrong where the arguments say so."""
        key = _imported(pem or self.key.key)
        return jwt.encode(header or {"alg": "RS256", "kid": self.key.key_id}, self.claims(**changes), key)

    def ask(self, assertion: str | None = None, scope: str = "") -> httpx.Response:
        """Ask for a token with an assertion, a good one unless told otherwise."""
        form = {"grant_type": JWT_PROFILE, "scope": scope or scopes(self.project)}
        return self.idp.token({**form, "assertion": self.assertion() if assertion is None else assertion})

    def access_token(self, scope: str = "") -> str:
        """A token that must be given."""
        answer = self.ask(scope=scope)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def wait_until_known(self) -> None:
        """A real Zitadel's projections need time to know a new key and grant."""
        wait_until(
            lambda: "access_token" in (answer := self.ask()).json() and ":roles" in str(payload(answer)),
            "a new key and grant work",
            timeout=30,
            interval=0.5,
        )


def payload(answer: httpx.Response) -> Json:
    """The claims of the access token in an answer."""
    return claims_of(answer.json()["access_token"])


def claims_of(token: str) -> Json:
    """The claims of a JWT, unverified."""
    part = token.split(".")[1]
    return msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@contextmanager
def double_at(state: Path, audit: Audit = to_log) -> Generator[Idp]:
    """The double as an `Idp`."""
    with running(state, audit=audit) as double:
        idp = Idp(double.issuer, double.ca, double.admin_token_file().read_text().strip(), double)
        try:
            yield idp
        finally:
            idp.http.close()


def healthy(idp: Idp) -> None:
    """Forget every mode."""
    assert idp.double is not None
    idp.double.double.modes = Modes()


@contextmanager
def under_test(state: Path) -> Generator[Idp]:
    """The real Zitadel that the environment names, else the double."""
    issuer = os.environ.get("FLEET_ZITADEL_ISSUER", "")
    if not issuer:
        with double_at(state) as idp:
            yield idp
        return
    ca, token = os.environ["FLEET_ZITADEL_CA_FILE"], os.environ["FLEET_ZITADEL_TOKEN_FILE"]
    idp = Idp(issuer, Path(ca).read_text() if ca else "", Path(token).read_text().strip(), None)
    try:
        yield idp
    finally:
        idp.http.close()
