"""What a world of local processes needs of this machine, checked before anything starts, reported in one sentence."""

from __future__ import annotations

import contextlib
import resource
import socket

from harness.errors import TargetUnavailable

LEAST_OPEN_FILES = 1024
"""Files and sockets that one server may have open. etcd ends below 150; nats-server needs one for each device."""
_LOOPBACK = "127.0.0.1"


def check_machine() -> None:
    """Raise the limit of open files as far as it may be raised, and look at the loopback interface.

    Raises:
        TargetUnavailable: something is missing; the message says what, and what to do.
    """
    _open_files()
    _loopback()
    _localhost()


def _open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _below(soft):
        raised = LEAST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, LEAST_OPEN_FILES)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _below(soft):
        raise TargetUnavailable(
            f"a process may open {soft} files here, and a local world needs {LEAST_OPEN_FILES}",
            next_step=f"raise the limit: ulimit -n {LEAST_OPEN_FILES}",
        )


def _below(limit: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < LEAST_OPEN_FILES


def _loopback() -> None:
    with socket.socket() as listener, socket.socket() as client:
        try:
            listener.bind((_LOOPBACK, 0))
            listener.listen()
            client.settimeout(2)
            client.connect(listener.getsockname())
        except OSError as error:
            raise TargetUnavailable(
                f"{_LOOPBACK} cannot be reached: {error.strerror}", next_step="switch it on: ip link set lo up"
            ) from error


def _localhost() -> None:
    try:
        addresses = {str(address[4][0]) for address in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    except OSError as error:
        addresses = {f"nothing ({error.strerror})"}
    if not addresses <= {_LOOPBACK, "::1"} or _LOOPBACK not in addresses:
        raise TargetUnavailable(
            f"localhost means {', '.join(sorted(addresses))} here, not {_LOOPBACK}",
            next_step=f"add the line '{_LOOPBACK} localhost' to /etc/hosts",
        )
