"""The identity provider of a local world: the Zitadel double as a component, and a person who approves codes."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import httpx
import msgspec

from harness.errors import IdentityProviderDown, Misused
from harness.processes.ports import Ports
from harness.processes.spec import ComponentSpec
from harness.targets.certificates import Authority

ZITADEL = "zitadel"
_DOMAIN = "localhost"


class ZitadelDouble(msgspec.Struct, frozen=True):
    """Satisfies `harness.world.world.Identity`. `ca` is a PEM file, `state` the double's folder."""

    issuer: str
    ca: Path
    state: Path

    @property
    def admin_token_file(self) -> Path:
        """The machine administrator's personal access token."""
        return self.state / _DOMAIN / "admin.pat"

    def approve(self, user_code: str) -> None:
        """Sign in as the human administrator and allow the code, as a person in a browser does.

        Raises:
            IdentityProviderDown: it does not answer.
            Misused: it refuses the code: unknown, used or expired.
        """
        form = {
            "user_code": user_code,
            "login_name": f"admin@fleet.{_DOMAIN}",
            "password": (self.state / _DOMAIN / "admin.password").read_text().strip(),
            "action": "allow",
        }
        trust = ssl.create_default_context(cafile=str(self.ca))
        try:
            answer = httpx.post(f"{self.issuer}/device", data=form, verify=trust, timeout=10, trust_env=False)
        except httpx.HTTPError as error:
            raise IdentityProviderDown(
                f"{self.issuer} does not answer: {error}", next_step=f"see the log of {ZITADEL}"
            ) from error
        if answer.is_error:
            raise Misused(
                f"{self.issuer}/device answered {answer.status_code} to {user_code}", next_step="ask for a new code"
            )


def prepare(root: Path, ports: Ports, authority: Authority) -> tuple[ComponentSpec, ZitadelDouble]:
    """Write its certificate, and say what should run as a process; start nothing."""
    certificate, key = authority.issue(ZITADEL)
    state, port = root / "identity", ports.take()
    issuer = f"https://{_DOMAIN}:{port}"
    argv = (sys.executable, "-m", "harness.doubles.zitadel", "--state", str(state), "--port", str(port))
    argv += ("--tls-cert", str(certificate), "--tls-key", str(key))
    # Here nobody has to find a browser first; a second is the shortest that the protocol can say.
    argv += ("--device-interval", "1")
    component = ComponentSpec(ZITADEL, argv, "world", ready=f"{issuer}/.well-known/openid-configuration")
    return component, ZitadelDouble(issuer, authority.certificate, state)
