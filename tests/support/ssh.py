"""An SSH server in this process that runs what it is asked to, and a home folder whose owner may log in."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED


@dataclass
class SshServer:
    """Listens on 127.0.0.1. Commands run by `sh` with `env`; `cut_after` bytes of input it drops the connection.

    `chatter` is a line of shell that runs before each command, as a `.bashrc` does.
    """

    key: paramiko.PKey
    client_key: paramiko.PKey
    env: dict[str, str]
    commands: list[str] = field(default_factory=list[str])
    cut_after: int | None = None
    chatter: str = ""
    port: int = 0
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _transports: list[paramiko.Transport] = field(default_factory=list[paramiko.Transport])

    def start(self) -> None:
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        # shutdown wakes the thread that waits in accept; close alone does not.
        with contextlib.suppress(OSError):  # stopped before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            self._transports.append(transport)
            transport.add_server_key(self.key)
            transport.start_server(event=threading.Event(), server=_Session(self, transport))


class _Session(paramiko.ServerInterface):
    def __init__(self, server: SshServer, transport: paramiko.Transport) -> None:
        self._server, self._transport = server, transport

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if key == self._server.client_key else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.commands.append(command.decode())
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            ["sh", "-c", f"{self._server.chatter}\n{command}"],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=self._server.env,
        ) as process:
            outputs = [(process.stdout, channel.sendall), (process.stderr, channel.sendall_stderr)]
            threads = [threading.Thread(target=_copy, args=pair, daemon=True) for pair in outputs]
            for thread in threads:
                thread.start()
            # Beside the outputs: a command may end while its input stays open.
            threading.Thread(target=self._feed, args=(channel, process), daemon=True).start()
            for thread in threads:
                thread.join()
            code = process.wait()
        # The client may have gone before its command ended.
        with contextlib.suppress(EOFError, OSError):
            # The thread that takes the answer has said before that the command was begun: a channel that closes
            # earlier is a refusal.
            self._transport.global_request("begun@fleet.test", wait=True)
            channel.send_exit_status(code)
            channel.close()

    def _feed(self, channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
        """Hand over the input; break the connection off where it is to."""
        taken = 0
        assert process.stdin is not None
        # The command may have ended, or been closed.
        with contextlib.suppress(BrokenPipeError, ValueError), process.stdin as stdin:
            while data := channel.recv(1024):
                taken += len(data)
                if self._server.cut_after is not None and taken > self._server.cut_after:
                    self._transport.close()
                    return
                stdin.write(data)
                stdin.flush()


def _copy(source: IO[bytes] | None, send: Callable[[bytes], object]) -> None:
    assert source is not None
    # Whoever asked is gone: paramiko raises one or the other, by the moment in which the connection ends.
    with contextlib.suppress(OSError, EOFError):
        while data := os.read(source.fileno(), 65536):
            send(data)


def make_home(home: Path) -> tuple[paramiko.PKey, paramiko.PKey]:
    """Keys of a server and of the owner of a home folder, whose key lies where clients look for it."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700, parents=True)
    client = paramiko.ECDSAKey.generate()
    client.write_private_key_file(str(folder / "id_ecdsa"))
    return paramiko.ECDSAKey.generate(), client


def make_known(home: Path, server: SshServer, key: paramiko.PKey | None = None) -> None:
    """Write the server's host key, or another one, into the home's known hosts."""
    shown = key or server.key
    line = f"[127.0.0.1]:{server.port} {shown.get_name()} {shown.get_base64()}\n"
    (home / ".ssh" / "known_hosts").write_text(line)
