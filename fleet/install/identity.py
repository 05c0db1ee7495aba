"""A bundled identity provider: Zitadel, and Postgres for it, as two more services of the plan. Pure but for the store.

The configuration follows Zitadel's own (`cmd/defaults.yaml` and `cmd/setup/steps.yaml` of its repository); written as
JSON, which is YAML. Zitadel ends TLS itself, with a certificate of the server's own authority, which devices trust.
"""

from __future__ import annotations

import secrets
import string

import msgspec

from fleet.install.authority import Authority
from fleet.install.secrets import password
from fleet.secrets.store import SecretStore
from fleet.topology.capabilities import Endpoint, IdentityEndpoints, Json, Service

ADMIN = "zitadel-admin"
"""The login name of the first administrator, a person."""
ADMIN_PASSWORD = "zitadel_admin_pass"  # noqa: S105 - the name of a secret
_DATABASE = "zitadel"
_OWNER = "postgres"
_MASTER_KEY_BYTES = 32
"""Zitadel takes a key of exactly this length."""


def identity_services(public: Endpoint, store: SecretStore, places: IdentityEndpoints) -> tuple[Service, Service]:
    """Postgres and Zitadel, in the order in which they start; `public` is the issuer's host and port."""
    authority = Authority.of(store)
    key = authority.key("zitadel_tls_key")
    owner, user = password(store, "postgres_pass"), password(store, "zitadel_db_pass")
    postgres = _postgres(places, authority, owner, key)
    return postgres, _zitadel(public, store, places, authority, {_OWNER: owner, _DATABASE: user})


def _postgres(places: IdentityEndpoints, authority: Authority, owner: str, key: bytes) -> Service:
    host, port = places.postgres.host, places.postgres.port
    tls = {"ssl": "on", "ssl_cert_file": "{files}/tls.crt", "ssl_key_file": "{files}/tls.key", "port": str(port)}
    return Service(
        name="postgres",
        program="postgres",
        args=("postgres", *(word for name, value in tls.items() for word in ("-c", f"{name}={value}"))),
        files={
            "password": owner.encode(),
            "tls.crt": authority.certificate("postgres_tls_cert", key, [host]),
            "tls.key": key,
        },
        ports={"postgres": port},
        health_port=port,
        ready="",
        alive="",
        env={"POSTGRES_PASSWORD_FILE": "{files}/password", "PGDATA": "{data}/pgdata"},
        scratch=("/var/run/postgresql",),
        clients=("zitadel",),
    )


def _zitadel(
    public: Endpoint, store: SecretStore, places: IdentityEndpoints, authority: Authority, passwords: dict[str, str]
) -> Service:
    key = authority.key("zitadel_tls_key")
    master = store.get_or_create("zitadel_master_key", _master_key)
    files = {
        "zitadel.yaml": _json(_settings(public, places, passwords)),
        "steps.yaml": _json(_first_steps(store.get_or_create(ADMIN_PASSWORD, _human_password).decode())),
        "master.key": master,
        "tls.crt": authority.certificate("zitadel_tls_cert", key, [public.host]),
        "tls.key": key,
        "ca.crt": authority.bundle.encode(),
    }
    args = ("start-from-init", "--tlsMode", "enabled", "--masterkeyFile", "{files}/master.key")
    return Service(
        name="zitadel",
        program="zitadel",
        args=(*args, "--config", "{files}/zitadel.yaml", "--steps", "{files}/steps.yaml"),
        files=files,
        ports={"zitadel": places.zitadel.port},
        health_port=places.zitadel.port,
        ready="/debug/ready",
        alive="/debug/healthz",
        health_tls=True,
        public=public,
    )


def _settings(public: Endpoint, places: IdentityEndpoints, passwords: dict[str, str]) -> Json:
    def login(name: str) -> Json:
        ssl = {"Mode": "verify-full", "RootCert": "{files}/ca.crt"}
        return {"Username": name, "Password": passwords[name], "SSL": ssl}

    database = {"Host": places.postgres.host, "Port": places.postgres.port, "Database": _DATABASE}
    return {
        "Port": places.zitadel.port,
        "ExternalDomain": public.host,
        "ExternalPort": public.port,
        "ExternalSecure": True,
        "TLS": {"Enabled": True, "CertPath": "{files}/tls.crt", "KeyPath": "{files}/tls.key"},
        "Database": {"postgres": {**database, "User": login(_DATABASE), "Admin": login(_OWNER)}},
        # The second login page is a container of its own; the first is built in.
        "DefaultInstance": {"Features": {"LoginV2": {"Required": False}}},
    }


def _first_steps(admin_password: str) -> Json:
    human = {"UserName": ADMIN, "Password": admin_password, "PasswordChangeRequired": False}
    return {"FirstInstance": {"InstanceName": "fleet", "Org": {"Name": "fleet", "Human": human}}}


def _master_key() -> bytes:
    return secrets.token_hex(_MASTER_KEY_BYTES // 2).encode()


def _human_password() -> bytes:
    """One that Zitadel's default policy takes: upper and lower case, a digit, a symbol."""
    alphabet = string.ascii_letters + string.digits
    return ("Aa1-" + "".join(secrets.choice(alphabet) for _ in range(24))).encode()


def _json(value: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
