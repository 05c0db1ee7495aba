"""The containers next to a k3d cluster: a real Zitadel with its Postgres.

The one module that imports testcontainers. No machine of this project's makers has run it: see docs/unproven.md.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from harness.errors import HarnessError, IdentityProviderDown, Misused, TargetUnavailable
from harness.targets.certificates import Authority
from harness.wait import WaitTimeout, wait_until

Json = dict[str, Any]

IMAGE_VARIABLE = "FLEET_ZITADEL_IMAGE"
"""Names the image of Zitadel, of version 4 or newer, at whatever registry one pulls from."""
_POSTGRES_IMAGE = "postgres:17-alpine"
_UP = 180.0
"""Seconds: its first start takes 20, and pulling the images the rest."""
_PERSON = "admin@fleet.test"


class LiveZitadel(msgspec.Struct, frozen=True):
    """Satisfies `Identity`: an instance of our own, so we may also play the person with a browser."""

    issuer: str
    ca: Path
    admin_token_file: Path
    password: str

    def approve(self, user_code: str) -> None:
        """Sign in with a session and allow the code, as the provider's login page does (its OIDC service, v2).

        Raises:
            IdentityProviderDown: it does not answer.
            Misused: it refuses.
        """
        checks = {"user": {"loginName": _PERSON}, "password": {"password": self.password}}
        session = self._ask("POST", "/v2/sessions", {"checks": checks})
        authorization = self._ask("GET", f"/v2/oidc/device_authorization/{user_code}")["deviceAuthorizationRequest"]
        proof = {"sessionId": session["sessionId"], "sessionToken": session["sessionToken"]}
        self._ask("POST", f"/v2/oidc/device_authorization/{authorization['id']}", {"session": proof})

    def problems(self) -> list[str]:
        """Why it cannot be used now; empty while it can."""
        try:
            self._ask("GET", "/.well-known/openid-configuration")
        except HarnessError as error:
            return [error.what]
        return []

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        trust = ssl.create_default_context(cafile=str(self.ca))
        headers = {"Authorization": f"Bearer {self.admin_token_file.read_text().strip()}"}
        try:
            answer = httpx.request(
                method, f"{self.issuer}{path}", json=body, headers=headers, verify=trust, timeout=10, trust_env=False
            )
        except httpx.HTTPError as error:
            raise IdentityProviderDown(
                f"{self.issuer} does not answer: {error}", next_step="docker logs of the container zitadel"
            ) from error
        if answer.is_error:
            raise Misused(f"{method} {path}: {answer.status_code} {answer.text[:300]}", next_step="see its own words")
        return answer.json()


@contextlib.contextmanager
def zitadel(image: str, root: Path, host: str, port: int, authority: Authority) -> Generator[LiveZitadel]:
    """A new instance that calls itself `https://HOST:PORT`, with an administrator's token; gone after the `with`.

    Raises:
        TargetUnavailable: docker refuses, or it does not come up in time.
    """
    password = f"{secrets.token_urlsafe(16)}aA1!"  # with a character of each kind that its rules ask for
    certificate, _ = authority.issue("zitadel", hosts=[host])
    state = root / "identity"
    state.mkdir()
    state.chmod(0o777)  # the image's own user writes into it; the folder above lets nobody else in
    made = LiveZitadel(f"https://{host}:{port}", authority.certificate, state / "admin.pat", password)
    with contextlib.ExitStack() as cleanup:
        try:
            network = cleanup.enter_context(Network())
            database = secrets.token_urlsafe(16)
            cleanup.enter_context(_postgres(network, database))
            server = _container(image, _settings(host, port, password, database))
            # Its own method takes no address, and would publish the port to every network of this machine.
            cast("dict[str, object]", server.ports)["8080"] = (host, port)
            server = server.with_network(network)
            for path, inside, mode in ((state, "/state", "rw"), (certificate.parent, "/tls", "ro")):
                server = server.with_volume_mapping(str(path), inside, mode)
            server = server.with_kwargs(user="0").with_command("start-from-init --masterkeyFromEnv")
            cleanup.enter_context(server)
        except Exception as error:  # docker's own errors are of many kinds, and testcontainers lets them through
            raise TargetUnavailable(f"no Zitadel in a container: {error}", next_step="docker info") from error
        try:
            wait_until(_missing(made), "Zitadel answers", timeout=_UP, until=lambda missing: not missing, interval=1)
        except WaitTimeout as error:
            logs = b"\n".join(server.get_logs()).decode(errors="replace")[-2000:]
            raise TargetUnavailable(f"{error}\n{logs}", next_step="read what it said") from error
        yield made


def _missing(made: LiveZitadel):  # noqa: ANN202 - a probe for `wait_until`
    return lambda: ["no token yet"] if not made.admin_token_file.exists() else made.problems()


def _postgres(network: Network, password: str) -> DockerContainer:
    container = _container(_POSTGRES_IMAGE, {"POSTGRES_PASSWORD": password})
    return container.with_network(network).with_network_aliases("database")


def _container(image: str, env: Mapping[str, str]) -> DockerContainer:
    container = DockerContainer(image)
    for name, value in env.items():
        container = container.with_env(name, value)
    return container


def _settings(host: str, port: int, password: str, database: str) -> dict[str, str]:
    """The variables of a first start (Zitadel's `defaults.yaml` and `steps.yaml`)."""
    postgres = {
        "HOST": "database",
        "PORT": "5432",
        "DATABASE": "zitadel",
        "ADMIN_USERNAME": "postgres",
        "ADMIN_PASSWORD": database,
        "ADMIN_SSL_MODE": "disable",
        "USER_USERNAME": "zitadel",
        "USER_PASSWORD": secrets.token_urlsafe(16),
        "USER_SSL_MODE": "disable",
    }
    first = {
        "PATPATH": "/state/admin.pat",
        "ORG_HUMAN_USERNAME": _PERSON,
        "ORG_HUMAN_PASSWORD": password,
        "ORG_HUMAN_PASSWORDCHANGEREQUIRED": "false",
        "ORG_MACHINE_MACHINE_USERNAME": "harness",
        "ORG_MACHINE_MACHINE_NAME": "harness",
        "ORG_MACHINE_PAT_EXPIRATIONDATE": "2099-01-01T00:00:00Z",
    }
    return {
        "ZITADEL_MASTERKEY": secrets.token_hex(16),
        "ZITADEL_EXTERNALDOMAIN": host,
        "ZITADEL_EXTERNALPORT": str(port),
        "ZITADEL_EXTERNALSECURE": "true",
        "ZITADEL_TLS_ENABLED": "true",
        "ZITADEL_TLS_CERTPATH": "/tls/zitadel.crt",
        "ZITADEL_TLS_KEYPATH": "/tls/zitadel.key",
        **{f"ZITADEL_DATABASE_POSTGRES_{name}": value for name, value in postgres.items()},
        **{f"ZITADEL_FIRSTINSTANCE_{name}": value for name, value in first.items()},
    }
