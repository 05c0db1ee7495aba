"""A look at the identity provider as a device and as an administrator, over its HTTP API: tokens, users, grants."""

from __future__ import annotations

import base64
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
from joserfc import jwt
from joserfc.jwk import RSAKey

from fleet.contract.config import DEVICE_ROLE, FleetDeviceAuth, MachineKey
from harness.errors import HarnessError, IdentityProviderDown
from harness.world.world import World

Json = dict[str, Any]

_JWT_PROFILE = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def machine_token(auth: FleetDeviceAuth) -> str:
    """An access token for what a device's configuration file holds, asked for as the device does.

    Raises:
        HarnessError: the provider refused the key.
        IdentityProviderDown: it does not answer.
    """
    trust = ssl.create_default_context(cadata=auth.ca)
    with httpx.Client(base_url=auth.issuer, verify=trust, timeout=10, trust_env=False) as http:
        form = _form(auth.issuer, auth.machine_key, auth.project)
        return _ask(http, "POST", "/oauth/v2/token", data=form)["access_token"]


class IdentityProbe:
    """Asks the world's identity provider. Every call has a deadline of 10 s."""

    def __init__(self, world: World) -> None:
        """Contact nothing yet."""
        self._issuer = world.issuer
        self._admin_token_file: Path = world.admin_token_file
        trust = ssl.create_default_context(cafile=str(world.issuer_ca))
        self._http = httpx.Client(base_url=world.issuer, verify=trust, timeout=10, trust_env=False)

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def token(self, key: MachineKey, project: str) -> str:
        """An access token for a machine key, with the project's audience and whatever roles its user has there.

        Raises:
            HarnessError: the provider refused the key.
            IdentityProviderDown: it does not answer.
        """
        return self._ask("POST", "/oauth/v2/token", data=_form(self._issuer, key, project))["access_token"]

    def forged(self, key: MachineKey, project: str, **claims: str | float | list[str]) -> str:
        """The same, but with these claims in the place of its own, well signed: only our double can; as `token`."""
        modes = "/_double/modes"
        self._ask("PATCH", modes, json={"claims": claims}, headers=self._as_admin())
        try:
            return self.token(key, project)
        finally:
            self._ask("PATCH", modes, json={"claims": {}}, headers=self._as_admin())

    def machines(self, device: str) -> dict[str, bool]:
        """The ids of a device's machine users, and whether each is active; as `token` for errors."""
        named = {"userNameQuery": {"userName": f"-{device}.", "method": "TEXT_QUERY_METHOD_CONTAINS"}}
        users = self._manage("/users/_search", {"queries": [named]}).get("result", [])
        return {user["id"]: user["state"] == "USER_STATE_ACTIVE" for user in users}

    def made(self) -> list[str]:
        """The projects, each with the roles and applications it has, in words; as `token` for errors."""
        scopes: list[str] = []
        for project in self._manage("/projects/_search", {}).get("result", []):
            scopes.append(f"project {project['name']} {project['id']}")
            for kind, name in (("apps", "name"), ("roles", "key")):
                listed = self._manage(f"/projects/{project['id']}/{kind}/_search", {}).get("result", [])
                scopes += [f"{project['id']} {kind} {item[name]}" for item in listed]
        return sorted(scopes)

    def add_machine(self, name: str, project: str) -> MachineKey:
        """A machine user with the device role, as enrollment makes one, and its key; as `token` for errors."""
        user = self._manage("/users/machine", {"userName": name, "name": name, "accessTokenType": 1})["userId"]
        self._manage(f"/users/{user}/grants", {"projectId": project, "roleKeys": [DEVICE_ROLE]})
        answer = self._manage(f"/users/{user}/keys", {"type": "KEY_TYPE_JSON"})
        return msgspec.json.decode(base64.b64decode(answer["keyDetails"]), type=MachineKey)

    def add_access_token(self) -> tuple[str, str]:
        """Another personal access token of the administrator, for a day: its id and its text; as `token` for errors."""
        user = self._ask("GET", "/oidc/v1/userinfo", headers=self._as_admin())["sub"]
        ends = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = self._manage(f"/users/{user}/pats", {"expirationDate": ends})
        return answer["tokenId"], answer["token"]

    def opens(self, token: str) -> bool:
        """Whether a token opens what administrators may do.

        Raises:
            IdentityProviderDown: it does not answer.
        """
        where = "/management/v1/orgs/me"
        try:
            return self._http.get(where, headers={"Authorization": f"Bearer {token}"}).is_success
        except httpx.HTTPError as error:
            raise IdentityProviderDown(f"{self._issuer}{where}: {error}", next_step="see the log of zitadel") from error

    def late(self, seconds: float) -> None:
        """Let it be so late with everything that is changed: only our double can; as `token` for errors."""
        self._ask("PATCH", "/_double/modes", json={"lag": seconds}, headers=self._as_admin())

    def grant_person(self, project: str, role: str) -> None:
        """Give every person there a role of a project; who has it already keeps it. As `token` for errors."""
        for user in self._manage("/users/_search", {}).get("result", []):
            if "human" in user:
                self.take_roles(user["id"])
                self._manage(f"/users/{user['id']}/grants", {"projectId": project, "roleKeys": [role]})

    def take_roles(self, user: str) -> None:
        """Remove every grant of a user, and so its roles in every project; as `token` for errors."""
        query = {"queries": [{"userIdQuery": {"userId": user}}]}
        for grant in self._manage("/users/grants/_search", query).get("result", []):
            self._ask("DELETE", f"/management/v1/users/{user}/grants/{grant['id']}", headers=self._as_admin())

    def _manage(self, path: str, body: Json) -> Json:
        return self._ask("POST", f"/management/v1{path}", json=body, headers=self._as_admin())

    def _as_admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._admin_token_file.read_text().strip()}"}

    def _ask(self, method: str, path: str, **options: Any) -> Json:  # noqa: ANN401 - httpx's own options
        return _ask(self._http, method, path, **options)


def _form(issuer: str, key: MachineKey, project: str) -> dict[str, str]:
    """What a device sends to the token endpoint (RFC 7523, section 2.1)."""
    now = int(time.time())
    claims = {"iss": key.user_id, "sub": key.user_id, "aud": issuer, "iat": now, "exp": now + 300}
    assertion = jwt.encode({"alg": "RS256", "kid": key.key_id}, claims, RSAKey.import_key(key.key))
    scope = f"openid urn:zitadel:iam:org:project:id:{project}:aud urn:zitadel:iam:org:projects:roles"
    return {"grant_type": _JWT_PROFILE, "assertion": assertion, "scope": scope}


def _ask(http: httpx.Client, method: str, path: str, **options: Any) -> Json:  # noqa: ANN401 - httpx's own options
    where = f"{http.base_url}{path}"
    try:
        answer = http.request(method, path, **options)
    except httpx.HTTPError as error:
        raise IdentityProviderDown(f"{where} does not answer: {error}", next_step="see the log of zitadel") from error
    if answer.is_error:
        raise HarnessError(
            f"{method} {where}: {answer.status_code} {answer.text[:300]}",
            next_step="see the words of the identity provider",
        )
    return answer.json()
