"""A host over SSH. As another user than root, everything runs through `sudo -n`."""

from __future__ import annotations

import re
import secrets
import select
import shlex
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from fleet.contract.errors import FleetError, InvalidInput, NotPermitted, Unreachable
from fleet.process.failures import in_words
from fleet.topology import host as hosts
from fleet.topology.capabilities import Applied

if TYPE_CHECKING:
    import paramiko

_CONNECT_LIMIT = 15.0
"""Seconds to connect, to see the host's banner, and to log in; each."""
_NOT_FOUND = 127
"""A shell's exit code for a program that does not exist (POSIX, "Exit Status for Commands")."""
_NO_CODE = -1
"""What paramiko has instead of an exit code when none came."""
_CHUNK = 64 * 1024
_ADDRESS = re.compile(r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.:-]*)", re.ASCII)

_MARKED = 'printf %s "$0"; printf %s "$0" >&2; exec "$@"'
"""Runs a command behind the mark $0: what a login shell says before it, from `.bashrc` say, is not the command's."""
_READ = '[ ! -e "$1" ] || { printf = && cat "$1"; }'
"""Prints "=" and the content of the file $1, or nothing when there is none."""
_PUT = """\
set -eu
target=$1 mode=$2 size=$3
umask 022
mkdir -p "$(dirname "$target")"
umask 077
draft=$target.fleet-$$
trap 'rm -f "$draft"' EXIT
cat > "$draft"
# A connection that breaks half-way looks like the end of the content.
[ "$(wc -c < "$draft")" -eq "$size" ] || { echo "received only a part" >&2; exit 1; }
chmod "$mode" "$draft"
if cmp -s "$draft" "$target" && [ "$(stat -c %a "$target")" = "$mode" ]; then echo same; exit 0; fi
sync
mv -f "$draft" "$target"
sync
echo changed
"""
"""Writes standard input to the file $1 with mode $2 if $3 bytes came, whole or not at all."""


class SshAddress(msgspec.Struct, frozen=True):
    """Who logs in where."""

    user: str
    host: str
    port: int = 22

    @classmethod
    def parse(cls, text: str) -> SshAddress:
        """Read `user@host` or `user@host:port`; an IPv6 address goes without a port.

        Raises:
            InvalidInput: it is neither.
        """
        found = _ADDRESS.fullmatch(text)
        if not found:
            raise _no_address(text)
        host, colon, port = found["host"].partition(":")
        if ":" in port or not colon:
            return cls(found["user"], found["host"])
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise _no_address(text)
        return cls(found["user"], host, int(port))

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


def _no_address(text: str) -> InvalidInput:
    return InvalidInput(f"{text!r} is no SSH address", next_step="use user@host or user@host:port, such as pi@pi-1")


class SshHost:
    """Satisfies `RunsCommands`. Use it in a `with`.

    The host's key must be known (`~/.ssh/known_hosts`); the login is by the SSH agent or a key in `~/.ssh`.
    """

    def __init__(self, address: str) -> None:
        """Contact nothing yet.

        Raises:
            InvalidInput: not `user@host` or `user@host:port`.
        """
        self._address = SshAddress.parse(address)
        self._client: paramiko.SSHClient | None = None

    def __enter__(self) -> Self:
        """Log in.

        Raises:
            Unreachable: it does not answer.
            NotPermitted: its key is not the known one, or it does not let us in.
        """
        self._client = _log_in(self._address)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._client:
            self._client.close()

    def __str__(self) -> str:
        return str(self._address)

    def execute(self, argv: Sequence[str]) -> str:
        """As `RunsCommands.execute`."""
        return self._run(argv, b"").decode(errors="replace")

    def read(self, path: str) -> bytes | None:
        """As `RunsCommands.read`."""
        found = self._run(["sh", "-c", _READ, "read", path], b"", shown=[f"read {path}"])
        return found[1:] if found else None

    def put(self, path: str, content: bytes, mode: int) -> Applied:
        """As `RunsCommands.put`. Missing folders are made."""
        script = ["sh", "-c", _PUT, "put", path, f"{mode:o}", str(len(content))]
        output = self._run(script, content, shown=[f"write {path}"])
        return Applied(path, changed=output.strip() != b"same")

    def _run(self, argv: Sequence[str], stdin: bytes, *, shown: Sequence[str] = ()) -> bytes:
        line = list(argv) if self._address.user == "root" else ["sudo", "-n", *argv]
        mark = f"fleet-{secrets.token_hex(8)}:"
        try:
            code, *outputs = self._talk(shlex.join(["sh", "-c", _MARKED, mark, *line]), stdin)
        except TimeoutError as error:
            raise hosts.too_slow(shown or argv, str(self)) from error
        except (OSError, EOFError) as error:
            raise self._lost(str(error)) from error
        if code == _NO_CODE:
            raise self._lost("it broke off before the command had ended")
        stdout, stderr = (_after(mark, output) for output in outputs)
        if stdout is None or stderr is None:
            raise hosts.failed(shown or argv, str(self), code, b"".join(outputs))
        if code == _NOT_FOUND:
            raise hosts.no_program(argv, str(self))
        if b"sudo: a password is required" in stderr:
            raise NotPermitted(
                f"{self} wants a password for sudo",
                next_step=f"let {self._address.user} use sudo without one, or be root",
            )
        if code != 0:
            raise hosts.failed(shown or argv, str(self), code, stdout + stderr)
        return stdout

    def _lost(self, why: str) -> Unreachable:
        return Unreachable(f"lost the connection to {self}: {why}", next_step="run this again")

    def _talk(self, line: str, stdin: bytes) -> tuple[int, bytes, bytes]:
        """Run a line: its exit code and outputs.

        Both outputs are read as they come, under one deadline: reading one to its end first would wait for ever once
        the window of the other is full.
        """
        transport = self._client.get_transport() if self._client else None
        if transport is None or not transport.is_active():
            raise EOFError("not logged in")
        deadline = time.monotonic() + hosts.DEADLINE
        outputs = (bytearray(), bytearray())
        with transport.open_session(timeout=hosts.DEADLINE) as channel:
            channel.exec_command(line)
            channel.settimeout(hosts.DEADLINE)
            channel.sendall(stdin)
            channel.shutdown_write()
            while not _ended(channel):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                select.select([channel], [], [], left)
                _drain(channel, outputs)
            _drain(channel, outputs)
            if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            return channel.recv_exit_status(), bytes(outputs[0]), bytes(outputs[1])


def _after(mark: str, output: bytes) -> bytes | None:
    """What came after the mark; None where there is none, so that nothing of it is the command's."""
    _, found, rest = output.partition(mark.encode())
    return rest if found else None


def _ended(channel: paramiko.Channel) -> bool:
    return bool(channel.eof_received or channel.closed)


def _drain(channel: paramiko.Channel, outputs: tuple[bytearray, bytearray]) -> None:
    while channel.recv_ready():
        outputs[0].extend(channel.recv(_CHUNK))
    while channel.recv_stderr_ready():
        outputs[1].extend(channel.recv_stderr(_CHUNK))


def _log_in(address: SshAddress) -> paramiko.SSHClient:
    import paramiko  # noqa: PLC0415 - a quarter of a second that only this path needs

    client = paramiko.SSHClient()
    client.load_system_host_keys()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.connect(
            address.host,
            address.port,
            address.user,
            timeout=_CONNECT_LIMIT,
            banner_timeout=_CONNECT_LIMIT,
            auth_timeout=_CONNECT_LIMIT,
        )
    except Exception as error:
        client.close()
        raise _refused(address, error) from error
    return client


def _refused(address: SshAddress, error: Exception) -> FleetError:
    import paramiko  # noqa: PLC0415

    if isinstance(error, paramiko.BadHostKeyException):
        return NotPermitted(
            f"{address} shows another host key than the one known: a new installation, or somebody in between",
            next_step=f"make sure that it is the device, then: ssh-keygen -R {address.host}",
        )
    if isinstance(error, paramiko.AuthenticationException):
        return NotPermitted(
            f"{address} does not let us in: {error}", next_step=f"does `ssh {address}` work, without a password?"
        )
    if isinstance(error, paramiko.SSHException) and "not found in known_hosts" in str(error):
        return NotPermitted(
            f"{address} is not among the known hosts", next_step=f"log in once with ssh {address}, and check its key"
        )
    if isinstance(error, (paramiko.SSHException, OSError, EOFError)):
        return Unreachable(f"cannot reach {address}: {in_words(error)}", next_step="is it on, and in the network?")
    raise error
