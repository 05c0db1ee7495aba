"""Runs a program that cannot hear of network interfaces: `python -m harness.probes.without_netlink PROGRAM ARGUMENTS…`.

Chromium ends every connection that it is about to make when any interface gets or loses an address
(`ERR_NETWORK_CHANGED`), and a container engine does that with each container. It hears of them through a socket of the
family AF_NETLINK (rtnetlink(7)); without one it takes the network to be there, and unchanged.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

import pyseccomp


def _forbid_netlink() -> None:
    """For this process and what it becomes: a netlink socket is a family that the kernel does not have."""
    filter_ = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    netlink = pyseccomp.Arg(0, pyseccomp.EQ, socket.AF_NETLINK)
    filter_.add_rule(pyseccomp.ERRNO(errno.EAFNOSUPPORT), "socket", netlink)
    filter_.load()


if __name__ == "__main__":
    _forbid_netlink()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell reads the arguments
