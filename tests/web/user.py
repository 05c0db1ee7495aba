"""Somebody who signs in to the page at the identity provider's double."""

from __future__ import annotations

from fleet.contract.config import VIEWER_ROLE
from tests.doubles.zitadel.idp import Idp, unique
from tests.support.tls import Tls
from tests.support.web import web_page

_APP = {
    "appType": "OIDC_APP_TYPE_USER_AGENT",
    "authMethodType": "OIDC_AUTH_METHOD_TYPE_NONE",
    "grantTypes": ["OIDC_GRANT_TYPE_AUTHORIZATION_CODE"],
    "responseTypes": ["OIDC_RESPONSE_TYPE_CODE"],
    "accessTokenType": "OIDC_TOKEN_TYPE_JWT",
    "accessTokenRoleAssertion": True,
}


class User:
    """The double's administrator, and a project for a page on `port`. The person has no role yet."""

    def __init__(self, idp: Idp, password: str, tls: Tls, port: int) -> None:
        self.idp, self.password = idp, password
        self.project = idp.project()
        idp.made(f"/projects/{self.project}/roles", {"roleKey": VIEWER_ROLE, "displayName": "Viewer"})
        self.login = "admin@fleet.localhost"
        found = idp.manage("POST", "/users/_search", {}).json()["result"]
        self.user = next(one["id"] for one in found if one["userName"] == self.login)
        uri = f"https://localhost:{port}/sign-in/return"
        app = {"name": unique("web"), "redirectUris": [uri], **_APP}
        self.config = web_page(
            tls,
            port=port,
            issuer=idp.issuer,
            issuer_ca=idp.ca,
            project_id=self.project,
            cli_client_id=idp.device_app(self.project),
            client_id=idp.made(f"/projects/{self.project}/apps/oidc", app)["clientId"],
        )

    def grant(self) -> None:
        """Give the person the role."""
        self.idp.made(f"/users/{self.user}/grants", {"projectId": self.project, "roleKeys": [VIEWER_ROLE]})

    def decide(self, code: str, action: str = "allow") -> None:
        """What a person does elsewhere with a code that a page shows."""
        form = {"user_code": code, "login_name": self.login, "password": self.password, "action": action}
        assert self.idp.http.post("/device", data=form).status_code == 200
