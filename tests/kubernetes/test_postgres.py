"""The bundled Postgres takes the passwords of its files at each start: the words of its pod, with a real Postgres."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from fleet.install.identity import OWNER_PASSWORD, PROVIDER_KEY, USER_PASSWORD
from fleet.install.server import provider_services
from fleet.install.tls import new_key
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import Change
from fleet.topology.capabilities import Endpoint, IdentityEndpoints
from fleet.topology.kubernetes.shape import endpoints
from harness.errors import BinaryMissing
from harness.processes.ports import free_port
from harness.wait import wait_until
from tests.kubernetes.conftest import SHAPE

_ENTRY = """\
#!/bin/sh -e
# What the image's entry point does with an empty folder.
[ -s "$PGDATA/PG_VERSION" ] || initdb -U postgres --auth=scram-sha-256 --pwfile="$POSTGRES_PASSWORD_FILE" >&2
exec "$@"
"""
USER = "nobody" if os.geteuid() == 0 else None
"""Postgres refuses root."""


@dataclass
class Database:
    """The service of the plan as a process, with the secrets that its store has when it starts."""

    folder: Path
    store: FileSecretStore
    port: int
    programs: Path

    @contextmanager
    def running(self) -> Generator[None]:
        host = "fleet-postgres.here.svc"
        places = IdentityEndpoints(Endpoint("zitadel", 1), Endpoint(host, self.port))
        seen = msgspec.structs.replace(endpoints("here", SHAPE), identity=places)
        service, _ = provider_services("https://id.example.org", self.store, seen)
        files = self.folder / "files"
        for name, content in service.files.items():
            (files / name).write_bytes(content)
            (files / name).chmod(0o600)
            _owned(files / name)
        at = {"files": str(files), "data": str(self.folder / "data")}
        words = [_filled(word, at) for word in service.args]
        words += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"]
        env = {name: _filled(value, at) for name, value in service.env.items()}
        env["PATH"] = f"{self.folder / 'bin'}:{self.programs}:{os.environ['PATH']}"
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(words, env=env, stdout=log, stderr=log, user=USER, cwd=self.folder)
        try:
            wait_until(lambda: self._answers(process), "Postgres answers", timeout=60, until=bool)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # as the image says
            process.wait(60)

    def login(self, user: str, password: str, sql: str = "SELECT 'in'") -> str:
        """What the database answers, over TLS by a certificate that the authority signed."""
        (self.folder / "ca.crt").write_bytes(self.store.get("ca_cert") or b"")
        where = f"host=fleet-postgres.here.svc hostaddr=127.0.0.1 port={self.port} dbname=postgres user={user}"
        where += f" sslmode=verify-full sslrootcert={self.folder}/ca.crt"
        command = [self.programs / "psql", "-w", "-A", "-t", "-c", sql, where]
        done = subprocess.run(
            command, env={"PGPASSWORD": password}, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else done.stderr

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, (self.folder / "log").read_text()
        ready = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0


@pytest.fixture
def database() -> Generator[Database]:
    known = [shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    if not (found := [Path(one).resolve().parent for one in known if one]):
        raise BinaryMissing("no Postgres is installed here", next_step="run ./scripts/test.sh once")
    # Short, for the path of a socket; and where another user may enter.
    folder = Path(tempfile.mkdtemp(prefix="fleet-pg-"))
    try:
        for name in ("files", "data", "bin"):
            (folder / name).mkdir()
        for path in (folder, folder / "files", folder / "data"):
            _owned(path)
        entry = folder / "bin" / "docker-entrypoint.sh"
        entry.write_text(_ENTRY)
        for path in (folder / "bin", entry):
            path.chmod(0o755)
        yield Database(folder, FileSecretStore(folder / "secrets"), free_port(), found[-1])
    finally:
        shutil.rmtree(folder)


def test_passwords_and_key_are_renewed_by_a_start_and_the_old_ones_are_dead(database: Database) -> None:
    store = database.store
    with database.running():
        owner, user = (_of(store, name) for name in (OWNER_PASSWORD, USER_PASSWORD))
        # Zitadel's first start does this, with the same file's password.
        made = database.login("postgres", owner, f"CREATE ROLE zitadel LOGIN PASSWORD '{user}'")
        assert made == "CREATE ROLE", made
        assert database.login("zitadel", user) == "in"
    # Somebody wants to see every statement.
    with (database.folder / "data" / "pgdata" / "postgresql.conf").open("a") as settings:
        settings.write("log_statement = all\n")
    renew(store, OWNER_PASSWORD, b"it's another \\ one")
    renew(store, USER_PASSWORD, b"$(another)'; --")
    renew(store, PROVIDER_KEY, new_key())
    with database.running():
        assert database.login("zitadel", "$(another)'; --") == "in"
        assert database.login("postgres", "it's another \\ one") == "in"
        assert "password authentication failed" in database.login("zitadel", user)
        assert "password authentication failed" in database.login("postgres", owner)
    log = (database.folder / "log").read_text()
    assert "ALTER ROLE" not in log
    assert "another" not in log


def renew(store: FileSecretStore, name: str, value: bytes) -> None:
    """All steps of its rotation in the store."""
    for change in (Change.STAGE, Change.PROMOTE, Change.RETIRE):
        kept = store.versions(name)
        assert kept
        store.change(name, kept, change, value if change is Change.STAGE else b"")


def _of(store: FileSecretStore, name: str) -> str:
    return (store.get(name) or b"").decode()


def _filled(text: str, at: dict[str, str]) -> str:
    return text.replace("{files}", at["files"]).replace("{data}", at["data"])


def _owned(path: Path) -> None:
    if USER:
        shutil.chown(path, USER)
