"""A real nats-server with the product's own configuration, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from fleet.contract.buckets import (
    APP_USER,
    CALLOUT_INBOX,
    CALLOUT_USER,
    CONTROL_USER,
    PUBLISHER_INBOX,
    PUBLISHER_USER,
    SYSTEM_USER,
)
from fleet.contract.logs import LOG_READER_USER
from fleet.install.nats import MEMORY, NatsPasswords, NatsServer, nats_config
from fleet.nats.bus import Login
from fleet.nats.keys import Role, new_seed, public_key
from harness.binaries import resolve
from harness.processes.ports import free_port
from harness.processes.spawn import http_answers, spawn, tail, terminate
from harness.wait import wait_until
from tests.support.tls import Tls

PASSWORDS = NatsPasswords(
    app="app-secret",
    control="control-secret",
    callout="callout-secret",
    system="system-secret",
    publisher="publisher-secret",
    web="web-secret",
    log_reader="log-reader-secret",
)


@dataclass
class Nats:
    """One server; `sealed` says whether it has an xkey. Keeps its address and its data across `stop` and `start`."""

    root: Path
    tls: Tls
    sealed: bool = True
    issuer_seed: str = field(default_factory=lambda: new_seed(Role.ACCOUNT))
    xkey_seed: str = field(default_factory=lambda: new_seed(Role.CURVE))
    port: int = field(default_factory=free_port)
    monitor_port: int = field(default_factory=free_port)
    tls_first: bool = False
    log_file: str = ""
    memory: str = MEMORY
    """What its garbage collector keeps to (Go's GOMEMLIMIT)."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.root / "nats.log"

    def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        server = NatsServer(
            name="test",
            host="127.0.0.1",
            port=self.port,
            monitor_port=self.monitor_port,
            tls_cert_file=str(self.tls.cert_file),
            tls_key_file=str(self.tls.key_file),
            store_dir=str(self.root / "jetstream"),
            passwords=PASSWORDS,
            issuer=public_key(self.issuer_seed),
            xkey=public_key(self.xkey_seed) if self.sealed else "",
            tls_first=self.tls_first,
            log_file=self.log_file,
        )
        config = self.root / "nats.conf"
        config.write_text(nats_config(server))
        self.process = spawn(
            [str(resolve("nats-server")), "-c", str(config)],
            log=self.log,
            env={**os.environ, "GOMEMLIMIT": self.memory},
        )
        wait_until(self._ready, "nats-server is ready", timeout=30, error=self._ended)

    def stop(self) -> None:
        if self.process:
            terminate(self.process)

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def login(self, user: str, name: str = "") -> Login:
        """How one of the static users presents itself."""
        passwords = {
            APP_USER: PASSWORDS.app,
            CONTROL_USER: PASSWORDS.control,
            CALLOUT_USER: PASSWORDS.callout,
            SYSTEM_USER: PASSWORDS.system,
            PUBLISHER_USER: PASSWORDS.publisher,
            LOG_READER_USER: PASSWORDS.log_reader,
        }
        inbox = {CALLOUT_USER: CALLOUT_INBOX, PUBLISHER_USER: PUBLISHER_INBOX}.get(user, "_INBOX")
        return Login(self.url, name or user, self.tls.ca, user=user, password=passwords[user], inbox=inbox)

    def _ready(self) -> bool:
        return http_answers(f"http://127.0.0.1:{self.monitor_port}/healthz")

    def _ended(self, _: object) -> str | None:
        assert self.process
        return None if self.process.poll() is None else f"it ended:\n{tail(self.log)}"
