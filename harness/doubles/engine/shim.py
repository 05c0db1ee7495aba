"""One container's keeper: binds its ports outside, makes its namespaces, runs its process, and tells how it ends.

Runs as a program of its own, without imports beyond the standard library: `python -I -S shim.py`. Lines of JSON come
in (the specification first, then signals and health checks) and go out (started, failed, checked, ended).

The order matters: a socket stays in the network namespace it was made in, so the published ports are bound before the
new one is entered, and relay into it afterwards. A UDP port is taken, but its datagrams go nowhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(__file__))
import confine

_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_PR_SET_PDEATHSIG = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)

Spec = dict[str, Any]
Bound = tuple[socket.socket, int]
"""A published port's socket, and the port inside."""


def main() -> None:
    """Keep one container."""
    _die_with_parent()
    spec: Spec = json.loads(_first_line())
    try:
        ports = _bind(spec["ports"])
        output = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _isolate(spec)
    except _Failed as error:
        _say(**error.said)
        return
    keeper, message = _start(spec, output)
    _say(**message)
    if "started" in message:
        for listener, port in ports:
            if listener.type == socket.SOCK_STREAM:
                threading.Thread(target=_relay, args=(listener, port), daemon=True).start()
        _serve(spec, message["started"], keeper)


class _Failed(Exception):  # noqa: N818 - an outcome, told to the engine
    def __init__(self, **message: Any) -> None:  # noqa: ANN401 - becomes JSON
        super().__init__(message)
        self.said = message


def _say(**message: Any) -> None:  # noqa: ANN401 - becomes JSON
    os.write(1, json.dumps(message).encode() + b"\n")


def _first_line() -> bytes:
    """The specification, and not a byte more: what follows belongs to `_serve`."""
    line = bytearray()
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    return bytes(line)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _bind(ports: list[dict[str, Any]]) -> list[Bound]:
    """Take every published port."""
    taken: list[Bound] = []
    for port in ports:
        streams = port["protocol"] != "udp"
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM if streams else socket.SOCK_DGRAM)
        if streams:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port["host"]))  # noqa: S104 - as the engine publishes
            if streams:
                listener.listen(128)
        except OSError as error:
            raise _Failed(failed="port", port=port["host"], message=error.strerror) from error
        taken.append((listener, port["container"]))
    return taken


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        cause = os.strerror(ctypes.get_errno())
        raise _Failed(failed="namespaces", message=f"the engine double needs root or user namespaces: {cause}")


def _join(pid: int, *, user: bool) -> bool:
    """Enter the network namespace of a process, and the user namespace that it is of; False if it has just ended."""
    try:
        spaces = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in (["user"] if user else []) + ["net"]]
    except OSError:
        return False
    for space in spaces:
        if _libc.setns(space, 0) != 0:
            cause = os.strerror(ctypes.get_errno())
            raise _Failed(failed="namespaces", message=f"the network of another container cannot be entered: {cause}")
        os.close(space)
    return True


def _isolate(spec: Spec) -> None:
    """Enter namespaces of the container's own; without root, also a user namespace in which we are root."""
    uid, gid = os.geteuid(), os.getegid()
    joined = spec["join"] and _join(spec["join"], user=uid != 0)
    network = 0 if joined or spec["network"] == "host" else _NEWNET
    _unshare(network | confine.NEWNS | confine.NEWUTS | (0 if uid == 0 or joined else _NEWUSER))
    if uid != 0 and not joined:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    try:
        confine.furnish(spec)
    except OSError as error:
        raise _Failed(failed="mount", message=str(error)) from error
    if not network:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _start(spec: Spec, output: int) -> tuple[int, dict[str, Any]]:
    """Start the container's process under a keeper of its own; returns the keeper's pid and what it said.

    The keeper alone enters the new pid namespace: whose children live there can make no threads, and relays need them.
    """
    reader, writer = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        _die_with_parent()
        os._exit(_keep(spec, output, writer))
    os.close(writer)
    with os.fdopen(reader) as stream:
        return keeper, json.loads(stream.readline())


def _keep(spec: Spec, output: int, writer: int) -> int:
    """Run the first process of a new pid namespace; returns its exit code."""

    def prepare() -> None:
        _die_with_parent()
        confine.mount_processes(spec)
        confine.enter(spec)

    try:
        _unshare(_NEWPID)
        process = subprocess.Popen(
            spec["argv"],
            env=spec["env"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - there is one thread
        )
    except _Failed as error:
        os.write(writer, json.dumps(error.said).encode())
        return 127
    except (OSError, subprocess.SubprocessError) as error:
        os.write(writer, json.dumps({"failed": "exec", "message": str(error)}).encode())
        return 127
    os.write(writer, json.dumps({"started": process.pid}).encode())
    os.close(writer)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _serve(spec: Spec, process: int, keeper: int) -> None:
    """Obey until the container's process ends, then tell its exit code."""
    ended = os.pidfd_open(keeper)
    pending = b""
    while True:
        readable, _, _ = select.select([0, ended], [], [])
        if ended in readable:
            _say(ended=os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]))
            os._exit(0)  # at once: the engine waits for it
        data = os.read(0, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "signal" in order:
                _signal(process, order["signal"])
            else:
                arguments = (spec, order["check"], order["limit"])
                threading.Thread(target=_check, args=arguments, daemon=True).start()


def _signal(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended, and its keeper is about to tell
        os.kill(process, number)


def _check(spec: Spec, argv: list[str], limit: float) -> None:
    """One health check, beside the container's process, of at most `limit` seconds."""
    try:
        done = subprocess.run(
            argv,
            env=spec["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
            check=False,
            preexec_fn=lambda: confine.enter(spec),
        )
        _say(checked=done.returncode, output=done.stdout.decode(errors="replace")[:4096])
    except subprocess.TimeoutExpired:
        _say(checked=-1, output=f"Health check exceeded timeout ({limit:g}s)")
    except (OSError, subprocess.SubprocessError) as error:
        _say(checked=127, output=str(error))


def _relay(listener: socket.socket, port: int) -> NoReturn:
    while True:
        outside, _ = listener.accept()
        try:
            inside = socket.create_connection(("127.0.0.1", port), 5)
        except OSError:
            outside.close()
            continue
        inside.settimeout(None)
        for source, sink in ((outside, inside), (inside, outside)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        sink.close()


if __name__ == "__main__":
    sys.exit(main())
