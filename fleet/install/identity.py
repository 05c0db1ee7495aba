"""A bundled identity provider: Zitadel, and Postgres for it, as two more services of the plan. Pure but for the store.

The configuration follows Zitadel's own (`cmd/defaults.yaml` and `cmd/setup/steps.yaml` of its repository); written as
JSON, which is YAML. Zitadel ends TLS itself, with a certificate of the server's own authority, which devices trust.
"""

from __future__ import annotations

import secrets
import string

import msgspec

from fleet.install.authority import Authority
from fleet.install.secrets import password, text
from fleet.secrets.store import SecretStore
from fleet.topology.capabilities import Endpoint, IdentityEndpoints, Json, Service

ADMIN = "zitadel-admin"
"""The login name of the first administrator, a person."""
ADMIN_PASSWORD = "zitadel_admin_pass"  # noqa: S105 - the name of a secret
_DATABASE = "zitadel"
_OWNER = "postgres"
_MASTER_KEY_BYTES = 32
"""Zitadel takes a key of exactly this length."""
PROVIDER_KEY, OWNER_PASSWORD, USER_PASSWORD = "zitadel_tls_key", "postgres_pass", "zitadel_db_pass"
PROVIDER_SECRETS = (OWNER_PASSWORD, USER_PASSWORD, PROVIDER_KEY)
"""Those of its secrets that can be renewed: the key of its certificates, and its users' passwords in Postgres."""
ZITADEL, POSTGRES = "zitadel", "postgres"
"""Its services."""
_WITH_PRESENT_PASSWORDS = f"""\
set -eu
text() {{ sed "s/'/''/g" "$1"; }}
if [ -s "$PGDATA/PG_VERSION" ]; then
  owner=$(text "$1/password") user=$(text "$1/{_DATABASE}.password")
  postgres --single -D "$PGDATA" -c log_statement=none -c log_min_error_statement=panic \\
    -c log_min_duration_statement=-1 postgres >/dev/null <<SQL
ALTER ROLE {_OWNER} PASSWORD '$owner';
DO \\$\\$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{_DATABASE}') THEN \
ALTER ROLE {_DATABASE} PASSWORD '$user'; END IF; END \\$\\$;
SQL
  unset owner user
fi
shift
exec docker-entrypoint.sh "$@"
"""
"""Sets the passwords of our files before Postgres listens. Its image takes one only when it makes the database, and
Zitadel only when it makes its user, so neither follows a later change. Nobody can log in while Postgres runs by itself
for one user, and the words come by standard input: they are in no argument and in no log."""


def identity_services(public: Endpoint, store: SecretStore, places: IdentityEndpoints) -> tuple[Service, Service]:
    """Postgres and Zitadel, in the order in which they start; `public` is the issuer's host and port."""
    authority = Authority.of(store)
    key = authority.key(PROVIDER_KEY)
    owner, user = password(store, OWNER_PASSWORD), password(store, USER_PASSWORD)
    postgres = _postgres(places, authority, (owner, user), key)
    return postgres, _zitadel(public, store, places, authority, {_OWNER: owner, _DATABASE: user})


def _postgres(places: IdentityEndpoints, authority: Authority, passwords: tuple[str, str], key: bytes) -> Service:
    host, port = places.postgres.host, places.postgres.port
    owner, user = passwords
    tls = {"ssl": "on", "ssl_cert_file": "{files}/tls.crt", "ssl_key_file": "{files}/tls.key", "port": str(port)}
    settings = [word for name, value in tls.items() for word in ("-c", f"{name}={value}")]
    return Service(
        name=POSTGRES,
        program="postgres",
        args=("sh", "-c", _WITH_PRESENT_PASSWORDS, "sh", "{files}", "postgres", *settings),
        files={
            "password": owner.encode(),
            f"{_DATABASE}.password": user.encode(),
            "tls.crt": authority.certificate("postgres_tls_cert", key, [host]),
            "tls.key": key,
        },
        ports={"postgres": port},
        health_port=port,
        ready="",
        alive="",
        env={"POSTGRES_PASSWORD_FILE": "{files}/password", "PGDATA": "{data}/pgdata"},
        scratch=("/var/run/postgresql",),
        clients=(ZITADEL,),
    )


def _zitadel(
    public: Endpoint, store: SecretStore, places: IdentityEndpoints, authority: Authority, passwords: dict[str, str]
) -> Service:
    key = authority.key(PROVIDER_KEY)
    master = store.get_or_create("zitadel_master_key", _master_key)
    files = {
        "zitadel.yaml": _json(_settings(public, places, passwords)),
        "steps.yaml": _json(_first_steps(text(store, ADMIN_PASSWORD, _human_password))),
        "master.key": master,
        "tls.crt": authority.certificate("zitadel_tls_cert", key, [public.host]),
        "tls.key": key,
        "ca.crt": authority.bundle.encode(),
    }
    args = ("start-from-init", "--tlsMode", "enabled", "--masterkeyFile", "{files}/master.key")
    return Service(
        name=ZITADEL,
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


def _human_password() -> str:
    """One that Zitadel's default policy takes: upper and lower case, a digit, a symbol."""
    alphabet = string.ascii_letters + string.digits
    return "Aa1-" + "".join(secrets.choice(alphabet) for _ in range(24))


def _json(value: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
