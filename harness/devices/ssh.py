"""A real board over SSH: commands and files, one connection that is made anew when it was lost."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import paramiko

from harness.devices import BOOT_ID
from harness.devices.diagnosis import machine_logs
from harness.devices.forward import EngineForward
from harness.devices.lease import Lease
from harness.errors import CommandHung, DeviceUnreachable, HarnessError, TargetUnavailable
from harness.scenario.command import Result
from harness.wait import WaitTimeout, stretch, wait_until

_CONNECT = 10.0
"""Seconds for each step of a login, on a machine of usual speed."""
_BOOT = 180.0
"""Seconds that a board has to come back: a Raspberry Pi takes 20 to 60."""
_FILE = 60.0
"""Seconds that a file may take."""
_CHUNK = 65536
_MARKED = 'printf %s "$0"; printf %s "$0" >&2; exec "$@"'
"""Runs a command behind the mark $0: what a login shell says before it, from `.bashrc` say, is not the command's."""
_WRITE = """\
umask 077 && cat > "$1.partial" && [ "$(wc -c < "$1.partial")" -eq "$3" ] && chmod "$2" "$1.partial" && \
mv -f "$1.partial" "$1"
"""

_CLEAR = """\
if [ -e /etc/fleet/agent.json ] && [ ! -e /etc/fleet-test-run ]; then
  echo "it runs an agent that no test run set up" >&2
  exit 1
fi
systemctl disable --now fleet-agent.service 2>/dev/null
systemctl kill --signal=SIGKILL 'fleet-agent@*.service' 2>/dev/null
systemctl stop 'fleet-agent@*.service' 2>/dev/null
systemctl reset-failed 'fleet-agent*' 2>/dev/null
rm -rf /etc/fleet /var/lib/fleet /usr/local/lib/fleet /etc/systemd/system/fleet-agent.service
rm -f /etc/systemd/system/fleet-agent@.service
agent=/usr/local/bin/fleet-agent
[ ! -L $agent ] || rm -f $agent
[ ! -e $agent.before-versions ] || mv -f $agent.before-versions $agent
systemctl daemon-reload
for engine in podman docker; do
  command -v $engine >/dev/null || continue
  $engine ps --all --quiet --filter label=io.fleet.deployment | xargs -r $engine rm --force >/dev/null
done
"""
"""Leaves a board without an agent and without its workloads; what others run on it stays."""
_ACQUIRE, _RELEASE = "touch /etc/fleet-test-run", "rm -f /etc/fleet-test-run"
"""The mark of a board that a test run may clear."""


class Address(msgspec.Struct, frozen=True):
    """Where a board is. `known_hosts` names the file that holds its host key: an unknown host is refused."""

    host: str
    user: str
    key: Path
    known_hosts: Path
    port: int = 22


class SshDevice:
    """Satisfies `Device`, `Acquirable`, `HasEngine` and `HasClock`; a board without a power switch can only reboot."""

    kind = "pi"
    env: Mapping[str, str] = {}

    def __init__(self, name: str, address: Address) -> None:
        """Nothing is contacted before the first command."""
        self.id = name
        self.returned = False
        self._address = address
        self._client: paramiko.SSHClient | None = None
        self._forward: EngineForward | None = None
        self._acquired = False
        self._lease = Lease(f"the board at {address.host}:{address.port}", self._session)

    @property
    def where(self) -> tuple[str, ...]:
        """The arguments of `fleet device setup` that lead to it."""
        address = self._address
        return ("--ssh", f"{address.user}@{address.host}" + (f":{address.port}" if address.port != 22 else ""))

    def run(self, argv: Sequence[str], *, timeout: float = 60) -> Result:
        """As `Device.run`."""
        line, started = shlex.join(argv), time.monotonic()
        code, out, err = self._talk(line, argv, b"", timeout)
        seconds = time.monotonic() - started
        return Result(line, code, out.decode(errors="replace"), err.decode(errors="replace"), seconds)

    def _talk(self, line: str, argv: Sequence[str], stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        """Exit code and outputs of a command, without what the login shell says before it."""
        mark = f"fleet-{secrets.token_hex(8)}:"
        channel = self._channel()
        try:
            channel.exec_command(shlex.join(["sh", "-c", _MARKED, mark, *argv]))
        except paramiko.SSHException as error:
            raise self._lost(error) from error
        channel.sendall(stdin)
        channel.shutdown_write()
        # Both outputs and the exit status are read under one deadline: waiting for one alone can block on the other.
        out, err = bytearray(), bytearray()

        def ended() -> bool:
            while channel.recv_ready():
                out.extend(channel.recv(_CHUNK))
            while channel.recv_stderr_ready():
                err.extend(channel.recv_stderr(_CHUNK))
            return channel.exit_status_ready() and not channel.recv_ready() and not channel.recv_stderr_ready()

        try:
            wait_until(ended, f"`{line}` has ended on {self.id}", timeout=timeout, interval=0.02)
        except WaitTimeout as error:
            raise CommandHung(f"{error}\n{out.decode(errors='replace')}", next_step="look at the board") from error
        finally:
            channel.close()
        outputs = [bytes(output).partition(mark.encode()) for output in (out, err)]
        if not all(found for _, found, _ in outputs):
            raise self._lost(f"its login shell ran no command, and said {bytes(out + err).decode(errors='replace')!r}")
        return channel.recv_exit_status(), outputs[0][2], outputs[1][2]

    # Not by SFTP, which a shell that says anything breaks.
    def read(self, path: str) -> bytes:
        """As `Device.read`."""
        code, out, err = self._talk(f"read {path}", ["cat", path], b"", _FILE)
        if code != 0:
            kind = FileNotFoundError if b"No such file" in err else OSError
            raise kind(f"{path} on {self.id}: {err.decode(errors='replace').strip()}")
        return out

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """As `Device.write`."""
        argv = ["sh", "-c", _WRITE, "write", path, f"{mode:o}", str(len(data))]
        code, _, err = self._talk(f"write {path}", argv, data, _FILE)
        if code != 0:
            raise OSError(f"{path} on {self.id}: {err.decode(errors='replace').strip()}")

    def reboot(self) -> None:
        """Restart the board, and wait until its boot id is another one.

        Raises:
            DeviceUnreachable: it did not come back in time.
        """
        before = self.boot_id()
        with contextlib.suppress(HarnessError, OSError):
            self.run(["sudo", "systemctl", "reboot"], timeout=5)
        self.close()

        def back() -> bool:
            try:
                return self.boot_id() != before
            except (HarnessError, OSError):
                self.close()
                return False

        try:
            wait_until(back, f"{self.id} has booted anew", timeout=_BOOT, interval=1)
        except WaitTimeout as error:
            raise DeviceUnreachable(str(error), next_step="look at the board's power and network") from error

    def boot_id(self) -> str:
        """As `Device.boot_id`."""
        return self.read(BOOT_ID).decode().strip()

    def set_clock(self, at: float) -> None:
        """As `HasClock.set_clock`.

        Raises:
            TargetUnavailable: its administrator may not.
        """
        self._as_root(f"date --utc --set @{at:.3f}")

    def logs(self) -> Mapping[str, str]:
        """As `Device.logs`: see `harness.devices.diagnosis`."""
        return machine_logs(self.run)

    def acquire(self) -> None:
        """As `Acquirable.acquire`.

        Raises:
            TargetUnavailable: it is somebody's, or refused.
        """
        self._lease.take()
        self._acquired = True
        self._as_root(f"{_CLEAR}{_ACQUIRE}")

    def release(self) -> None:
        """As `Acquirable.release`."""
        try:
            self._as_root(f"{_CLEAR}{_RELEASE}")
        finally:
            # Nobody uses it any more, and the next acquire clears it again: one failure keeps it from no other test.
            self._acquired = False
            self.close()
            self.returned = True

    def _as_root(self, script: str) -> None:
        result = self.run(["sudo", "-n", "sh", "-c", script])
        if result.code != 0:
            raise TargetUnavailable(
                f"{self.id} cannot be used: {result.output.strip()}",
                next_step=f"ssh {self.where[1]}: sudo without a password, and no agent that is somebody's",
            )

    @property
    def engine_socket(self) -> str:
        """As `HasEngine.engine_socket`: forwarded, since the first time that it is asked for.

        Raises:
            DeviceUnreachable: there is no way to it.
        """
        if self._forward is not None and not self._forward.stands:
            self._forward.close()
            self._forward = None
        if self._forward is None:
            address = self._address
            known = f"-oUserKnownHostsFile={address.known_hosts}"
            where = (known, "-i", str(address.key), "-p", str(address.port), f"{address.user}@{address.host}")
            self._forward = EngineForward(where)
        return str(self._forward.socket)

    def close(self) -> None:
        """End the connections."""
        if self._forward is not None:
            self._forward.close()
            self._forward = None
        self._lease.end()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _channel(self) -> paramiko.Channel:
        """A session for a command, on an acquired board only while the lease is ours: a new connection takes it."""
        fresh = self._client is None
        session = self._session()
        if self._acquired and fresh:
            self._lease.take()
        elif self._acquired and self._lease.lost:
            raise self._lost("the lease on it ended, so another run may have it")
        return session

    def _session(self) -> paramiko.Channel:
        transport = self._connected().get_transport()
        if transport is None:
            raise self._lost("the connection ended")
        try:
            return transport.open_session(timeout=_CONNECT * stretch())
        except (paramiko.SSHException, OSError) as error:
            self.close()
            raise self._lost(error) from error

    def _connected(self) -> paramiko.SSHClient:
        # It logs a traceback of what it also raises, each time that a machine which boots does not answer yet.
        logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)
        if self._client is not None:
            return self._client
        address, client, limit = self._address, paramiko.SSHClient(), _CONNECT * stretch()
        try:
            client.load_host_keys(str(address.known_hosts))
            client.connect(
                address.host,
                address.port,
                address.user,
                key_filename=str(address.key),
                timeout=limit,
                banner_timeout=limit,
                auth_timeout=limit,
                allow_agent=False,
                look_for_keys=False,
            )
        except (paramiko.SSHException, OSError) as error:
            client.close()
            raise self._lost(error) from error
        self._client = client
        return client

    def _lost(self, why: object) -> DeviceUnreachable:
        address = self._address
        return DeviceUnreachable(
            f"{self.id} does not answer at {address.user}@{address.host}:{address.port}: {why}",
            next_step=f"ssh -i {address.key} -p {address.port} {address.user}@{address.host}",
        )
