"""The nats-server's configuration, from typed values: TLS, JetStream, accounts, and the auth callout.

Rendered as JSON, which nats-server's configuration language includes, so that no password needs quoting rules. The
accounts and limits follow the NATS reference; who may do what as a device is `fleet.contract.permissions`.

Devices and streams live in different accounts. A client may name any subject as its reply-to, past its permissions, and
a stream takes what arrives there: in one account, a device could have an acknowledgement, or a value of its choice,
stored under another device's key. Between accounts the server replaces the reply-to.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
    HEARD_PREFIX,
    IDENTITIES,
    PUBLISHER_INBOX,
    PUBLISHER_USER,
    STORE_ACCOUNT,
    SYSTEM_ACCOUNT,
    SYSTEM_USER,
    WEB_USER,
)
from fleet.contract.logs import ALL_ASKS, ALL_LOGS, LOG_READER_USER
from fleet.contract.permissions import DEVICE_READS, DEVICE_WRITES, MAX_PAYLOAD, MAX_SUBSCRIPTIONS
from fleet.contract.sent import SENT_PREFIX, SERVICES, SHARED_SERVICES
from fleet.contract.versions import (
    AUTHORITY_TAG,
    CALLOUT_KEYS_SUBJECT,
    ISSUER_TAG,
    TLS_TAG,
    USER_TAG,
    XKEY_TAG,
    user_of,
)
from fleet.install.routes import AUTH_TIMEOUT, NatsCluster, cluster_config, route_tags

Json = dict[str, Any]

_MAX_CONTROL_LINE = 16 * 1024
"""Bytes of a CONNECT line; the default of 4 KB refuses tokens with many roles."""
_MAX_PENDING = 16 * 1024 * 1024
_WRITE_DEADLINE = "5s"
"""Bytes that wait for a client that does not read, and how long, before the server drops it. With its own 64 MB one
device, by the sessions that it may hold, takes half of the server's memory."""
_MAX_BUFFERED = 16 * 1024 * 1024
"""Bytes that wait to be written to one stream. The server's own 128 MB, for each of the streams that a device writes
to, are half a gigabyte; what comes while they are full is refused, and the agent says it again."""
_LOG_FILE = 8 * 1024 * 1024
_LOG_FILES = 3
"""Bytes of a log file, and how many stay. A device has the server write a line for each refusal: 30 MB a second."""
MEMORY = "512MiB"
"""From here on the server collects garbage more often: half of what its pod may have (Go's GOMEMLIMIT). What a device
asks for and does not read becomes garbage faster than it is collected, until the operator ends its sessions."""


class NatsPasswords(msgspec.Struct, frozen=True):
    """The passwords of the static users; secrets. `others` are honoured as well, by role, while one is rotated."""

    app: str
    control: str
    callout: str
    system: str
    publisher: str
    web: str = ""
    log_reader: str = ""
    others: Mapping[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return "NatsPasswords(...)"

    def by_user(self, role: str) -> dict[str, str]:
        """The users of a role, and the password of each, in an order that does not tell which is the current one."""
        current = {
            APP_USER: self.app,
            CONTROL_USER: self.control,
            CALLOUT_USER: self.callout,
            SYSTEM_USER: self.system,
            PUBLISHER_USER: self.publisher,
            WEB_USER: self.web,
            LOG_READER_USER: self.log_reader,
        }
        every = (*filter(None, (current[role],)), *self.others.get(role, ()))
        return dict(sorted((user_of(role, password), password) for password in every))


class NatsServer(msgspec.Struct, frozen=True):
    """One nats-server. `issuer` and `xkey` are public keys (`A...`, `X...`); an empty `xkey` asks in clear.

    `tls_key_id` names the key of its certificate, and `authority_id` the certificate that this was signed by.

    `host` is the address to listen on. The monitoring port answers on 127.0.0.1 alone, in plain HTTP: it says who is
    connected, and what they listen to. The log goes to `log_file`, which the server keeps short, or to its standard
    error, which the program that runs it keeps short, as the kubelet does. Each server of a cluster needs a name of
    its own, which `--name` gives it past this file. With `tls_first`, clients may begin with TLS; those that wait for
    a greeting get it 50 ms later (nats-server's documentation of `handshake_first: auto`).
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
    tls_key_id: str = ""
    authority_id: str = ""
    cluster: NatsCluster | None = None
    tls_first: bool = False
    log_file: str = ""


def nats_config(server: NatsServer) -> str:
    """The configuration file; it holds the passwords, so it is a secret."""
    accounts = _accounts(server.passwords)
    users: list[str] = [user["user"] for account in accounts.values() for user in account.get("users", ())]
    callout: Json = {
        "issuer": server.issuer,
        "account": CONTROL_ACCOUNT,
        # Whoever is not listed here is decided by the callout, even a user of the configuration.
        "auth_users": users,
    }
    if server.xkey:
        callout["xkey"] = server.xkey
    config: Json = {
        "server_name": server.name,
        "server_tags": [
            f"{ISSUER_TAG}{server.issuer}",
            *([f"{XKEY_TAG}{server.xkey}"] if server.xkey else []),
            *(f"{USER_TAG}{user}" for user in users),
            f"{TLS_TAG}{server.tls_key_id}",
            f"{AUTHORITY_TAG}{server.authority_id}",
            *(route_tags(server.cluster) if server.cluster else ()),
        ],
        "host": server.host,
        "port": server.port,
        "http": f"127.0.0.1:{server.monitor_port}",
        "max_control_line": _MAX_CONTROL_LINE,
        "max_pending": _MAX_PENDING,
        "write_deadline": _WRITE_DEADLINE,
        "tls": {"cert_file": server.tls_cert_file, "key_file": server.tls_key_file, "timeout": AUTH_TIMEOUT},
        "jetstream": {"store_dir": server.store_dir, "max_buffered_size": _MAX_BUFFERED},
        "accounts": accounts,
        "system_account": SYSTEM_ACCOUNT,
        "authorization": {"timeout": AUTH_TIMEOUT, "auth_callout": callout},
    }
    if server.log_file:
        config |= {"log_file": server.log_file, "log_size_limit": _LOG_FILE, "logfile_max_num": _LOG_FILES}
    if server.tls_first:
        config["tls"]["handshake_first"] = "auto"
    if server.cluster:
        config["cluster"] = cluster_config(server.cluster)
    return msgspec.json.format(msgspec.json.encode(config), indent=2).decode()


def _accounts(passwords: NatsPasswords) -> Json:
    def users(role: str, permissions: Json | None = None) -> list[Json]:
        granted: Json = {} if permissions is None else {"permissions": permissions}
        return [{"user": user, "password": password, **granted} for user, password in passwords.by_user(role).items()]

    # The operator writes the registry, but is no callout: it neither hears nor answers a request to log in.
    own = {"deny": "$SYS.>"}
    stored = users(APP_USER) + users(PUBLISHER_USER, _publisher_permissions())
    stored += users(WEB_USER, _web_permissions())
    stored += users(LOG_READER_USER, {"publish": [ALL_ASKS], "subscribe": [ALL_LOGS]})
    control = users(CONTROL_USER, {"publish": own, "subscribe": own}) + users(CALLOUT_USER, _callout_permissions())
    return {
        STORE_ACCOUNT: {"jetstream": "enabled", "users": stored, "exports": _exports(), "imports": _sent()},
        APP_ACCOUNT: {
            "exports": [{"stream": subject, "accounts": [STORE_ACCOUNT]} for subject in SERVICES],
            "imports": _imports(),
            "limits": {"max_subscriptions": MAX_SUBSCRIPTIONS, "max_payload": MAX_PAYLOAD},
        },
        CONTROL_ACCOUNT: {"jetstream": "enabled", "users": control},
        SYSTEM_ACCOUNT: {"users": users(SYSTEM_USER, _system_permissions())},
    }


def _exports() -> list[Json]:
    shared: Json = {"accounts": [APP_ACCOUNT]}
    return [
        *({"service": subject, **shared} for subject in SERVICES),
        *({"stream": subject, **shared} for subject in (ALL_CHANGES, ALL_ASKS, *_watches())),
    ]


def _imports() -> list[Json]:
    def from_store(subject: str) -> Json:
        return {"account": STORE_ACCOUNT, "subject": subject}

    return [
        # With `share` the operator sees who asks, where the subject does not say it.
        *({"service": from_store(subject), "share": subject in SHARED_SERVICES} for subject in SERVICES),
        *({"stream": from_store(subject)} for subject in _watches()),
        *({"stream": from_store(subject), "prefix": HEARD_PREFIX} for subject in (ALL_CHANGES, ALL_ASKS)),
    ]


def _sent() -> list[Json]:
    """What devices publish, with the reply-to that they chose: the server replaces it only in what STORE exports."""
    return [{"stream": {"account": APP_ACCOUNT, "subject": subject}, "prefix": SENT_PREFIX} for subject in SERVICES]


def _watches() -> list[str]:
    """What agents of the two former releases may subscribe to; answers to their writes need no subscription."""
    return [bucket.subject(">") for bucket in DEVICE_READS if bucket not in DEVICE_WRITES]


def _callout_permissions() -> Json:
    stream = IDENTITIES.stream
    return {
        "publish": [
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}",
            f"$JS.API.CONSUMER.INFO.{stream}.*",
            f"$JS.API.DIRECT.GET.{stream}.{IDENTITIES.subject('>')}",
            f"$JS.FC.{stream}.>",
        ],
        "subscribe": [AUTH_SUBJECT, CALLOUT_KEYS_SUBJECT, IDENTITIES.subject(">"), f"{CALLOUT_INBOX}.>"],
        "allow_responses": {"max": 1, "expires": f"{AUTH_TIMEOUT}s"},
    }


def _publisher_permissions() -> Json:
    """Put, get, list and remove published agents; the operator makes the stream."""
    calls = ("STREAM.INFO", "STREAM.PURGE")
    return {
        "publish": [
            f"$O.{ARTIFACTS}.>",
            f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.>",
            *(f"$JS.API.{call}.{ARTIFACTS_STREAM}" for call in calls),
        ],
        "subscribe": [f"{PUBLISHER_INBOX}.>"],
    }


def _web_permissions() -> Json:
    """Subscribe to the reports of devices, and to notices of their heartbeats; publish nothing, not even a request."""
    heard = [DEVICE_INFO.subject("*"), DEVICE_STATE.subject("*"), DEVICE_HEARTBEAT.changed("*")]
    return {"publish": {"deny": ">"}, "subscribe": heard}


def _system_permissions() -> Json:
    return {
        "publish": ["$SYS.REQ.SERVER.*.KICK", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.PING.VARZ"],
        "subscribe": ["_INBOX.>", f"$SYS.ACCOUNT.{APP_ACCOUNT}.CONNECT", f"$SYS.ACCOUNT.{APP_ACCOUNT}.DISCONNECT"],
    }
