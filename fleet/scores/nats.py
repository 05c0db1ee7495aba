"""The nats-server's configuration, from typed values: TLS, JetStream, accounts, and the auth callout.

Rendered as JSON, which nats-server's configuration language includes, so that no password needs quoting rules. The
accounts and limits follow the NATS reference; who may do what as a device is `fleet.contract.permissions`.

Devices and streams live in different accounts. A client may name any subject as its reply-to, past its permissions, and
a stream takes what arrives there: in one account, a device could have an acknowledgement, or a value of its choice,
stored under another device's key. Between accounts the server replaces the reply-to.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.buckets import (
    ALL_CHANGES,
    APP_ACCOUNT,
    APP_USER,
    ARTIFACTS,
    ARTIFACTS_STREAM,
    AUTH_SUBJECT,
    CALLOUT_INBOX,
    CALLOUT_USER,
    CONTROL_ACCOUNT,
    CONTROL_USER,
    HEARD_PREFIX,
    IDENTITIES,
    PUBLISHER_INBOX,
    PUBLISHER_USER,
    STORE_ACCOUNT,
    SYSTEM_ACCOUNT,
    SYSTEM_USER,
)
from fleet.contract.permissions import ARTIFACT_READS, DEVICE_READS, DEVICE_WRITES, MAX_PAYLOAD, MAX_SUBSCRIPTIONS

Json = dict[str, Any]

_AUTH_TIMEOUT = 3
"""Seconds a client has to log in, and the server waits for the callout.

Its own default of 2 fails in storms; but who asks while no callout is there waits that long in vain.
"""
_CLUSTER = "fleet"
_MAX_CONTROL_LINE = 16 * 1024
"""Bytes of a CONNECT line; the default of 4 KB refuses tokens with many roles."""


class NatsPasswords(msgspec.Struct, frozen=True):
    """The passwords of the static users; secrets."""

    app: str
    control: str
    callout: str
    system: str
    publisher: str

    def __repr__(self) -> str:
        return "NatsPasswords(...)"


class NatsCluster(msgspec.Struct, frozen=True):
    """Replicas that find each other. `routes` are the `host:port` of all; `password` is a secret.

    nats-server demands certificates of both sides of a route, so the one here names the replicas, for both uses.
    """

    host: str
    port: int
    routes: tuple[str, ...]
    password: str
    tls_cert_file: str
    tls_key_file: str
    tls_ca_file: str

    def __repr__(self) -> str:
        return f"NatsCluster({', '.join(self.routes)})"


class NatsServer(msgspec.Struct, frozen=True):
    """One nats-server. `issuer` and `xkey` are public keys (`A...`, `X...`); an empty `xkey` asks in clear.

    `host` is the address to listen on. The monitoring port answers `/healthz` in plain HTTP. Each server of a cluster
    needs a name of its own, which `--name` gives it past this file. With `tls_first`, clients may begin with TLS; those
    that wait for a greeting get it 50 ms later (nats-server's documentation of `handshake_first: auto`).
    """

    name: str
    host: str
    port: int
    monitor_port: int
    tls_cert_file: str
    tls_key_file: str
    store_dir: str
    passwords: NatsPasswords
    issuer: str
    xkey: str
    cluster: NatsCluster | None = None
    tls_first: bool = False


def nats_config(server: NatsServer) -> str:
    """The configuration file; it holds the passwords, so it is a secret."""
    callout: Json = {
        "issuer": server.issuer,
        "account": CONTROL_ACCOUNT,
        # Whoever is not listed here is decided by the callout, even a user of the configuration.
        "auth_users": [APP_USER, CONTROL_USER, CALLOUT_USER, SYSTEM_USER, PUBLISHER_USER],
    }
    if server.xkey:
        callout["xkey"] = server.xkey
    config: Json = {
        "server_name": server.name,
        "host": server.host,
        "port": server.port,
        "http": f"{server.host}:{server.monitor_port}",
        "max_control_line": _MAX_CONTROL_LINE,
        "tls": {"cert_file": server.tls_cert_file, "key_file": server.tls_key_file, "timeout": _AUTH_TIMEOUT},
        "jetstream": {"store_dir": server.store_dir},
        "accounts": _accounts(server.passwords),
        "system_account": SYSTEM_ACCOUNT,
        "authorization": {"timeout": _AUTH_TIMEOUT, "auth_callout": callout},
    }
    if server.tls_first:
        config["tls"]["handshake_first"] = "auto"
    if server.cluster:
        config["cluster"] = _cluster(server.cluster)
    return msgspec.json.format(msgspec.json.encode(config), indent=2).decode()


def _cluster(cluster: NatsCluster) -> Json:
    return {
        "name": _CLUSTER,
        "listen": f"{cluster.host}:{cluster.port}",
        "routes": [f"nats-route://{_CLUSTER}:{cluster.password}@{route}" for route in cluster.routes],
        "authorization": {"user": _CLUSTER, "password": cluster.password, "timeout": _AUTH_TIMEOUT},
        "tls": {
            "cert_file": cluster.tls_cert_file,
            "key_file": cluster.tls_key_file,
            "ca_file": cluster.tls_ca_file,
            "timeout": _AUTH_TIMEOUT,
        },
        # Clients would be told the replicas' own addresses, which nobody outside can reach.
        "no_advertise": True,
    }


def _accounts(passwords: NatsPasswords) -> Json:
    app = {"user": APP_USER, "password": passwords.app}
    # The operator writes the registry, but is no callout: it neither hears nor answers a request to log in.
    own = {"deny": "$SYS.>"}
    control = {"user": CONTROL_USER, "password": passwords.control, "permissions": {"publish": own, "subscribe": own}}
    publisher = {
        "user": PUBLISHER_USER,
        "password": passwords.publisher,
        "permissions": _publisher_permissions(),
    }
    callout = {"user": CALLOUT_USER, "password": passwords.callout, "permissions": _callout_permissions()}
    system = {"user": SYSTEM_USER, "password": passwords.system, "permissions": _system_permissions()}
    return {
        STORE_ACCOUNT: {"jetstream": "enabled", "users": [app, publisher], "exports": _exports()},
        APP_ACCOUNT: {
            "imports": _imports(),
            "limits": {"max_subscriptions": MAX_SUBSCRIPTIONS, "max_payload": MAX_PAYLOAD},
        },
        CONTROL_ACCOUNT: {"jetstream": "enabled", "users": [control, callout]},
        SYSTEM_ACCOUNT: {"users": [system]},
    }


def _exports() -> list[Json]:
    shared: Json = {"accounts": [APP_ACCOUNT]}
    return [
        *({"service": subject, **shared} for subject in _services()),
        *({"stream": subject, **shared} for subject in (ALL_CHANGES, *_watches())),
    ]


def _imports() -> list[Json]:
    def from_store(subject: str) -> Json:
        return {"account": STORE_ACCOUNT, "subject": subject}

    return [
        *({"service": from_store(subject)} for subject in _services()),
        *({"stream": from_store(subject)} for subject in _watches()),
        {"stream": from_store(ALL_CHANGES), "prefix": HEARD_PREFIX},
    ]


def _services() -> list[str]:
    """What devices ask for: writes, which are acknowledged, and direct gets."""
    gets = (f"$JS.API.DIRECT.GET.{bucket.stream}.{bucket.subject('>')}" for bucket in DEVICE_READS)
    return [*(bucket.subject(">") for bucket in DEVICE_WRITES), *gets, *ARTIFACT_READS]


def _watches() -> list[str]:
    """What agents up to two releases behind hear of; their own writes they hear without."""
    return [bucket.subject(">") for bucket in DEVICE_READS if bucket not in DEVICE_WRITES]


def _callout_permissions() -> Json:
    stream = IDENTITIES.stream
    return {
        "publish": [
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}",
            f"$JS.API.CONSUMER.INFO.{stream}.*",
            f"$JS.FC.{stream}.>",
        ],
        "subscribe": [AUTH_SUBJECT, IDENTITIES.subject(">"), f"{CALLOUT_INBOX}.>"],
        "allow_responses": {"max": 1, "expires": f"{_AUTH_TIMEOUT}s"},
    }


def _publisher_permissions() -> Json:
    """Put and get what is published, list it, and take it away; the operator makes the stream."""
    calls = ("STREAM.INFO", "STREAM.PURGE")
    return {
        "publish": [
            f"$O.{ARTIFACTS}.>",
            f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.>",
            *(f"$JS.API.{call}.{ARTIFACTS_STREAM}" for call in calls),
        ],
        "subscribe": [f"{PUBLISHER_INBOX}.>"],
    }


def _system_permissions() -> Json:
    return {
        "publish": ["$SYS.REQ.SERVER.*.KICK", "$SYS.REQ.SERVER.PING.CONNZ"],
        "subscribe": ["_INBOX.>", f"$SYS.ACCOUNT.{APP_ACCOUNT}.CONNECT", f"$SYS.ACCOUNT.{APP_ACCOUNT}.DISCONNECT"],
    }
