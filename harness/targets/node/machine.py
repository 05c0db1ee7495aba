"""`python -m harness.targets.node.machine ROOT NAME`: a machine of a cluster, in namespaces of its own.

A component of the cluster, so that it can be switched off (killed) and on again like any other.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from harness.processes import cgroups
from harness.targets.node import inside, network
from harness.targets.node.namespaces import start_first_process
from harness.targets.node.plan import load

_WORD = b"\n"


def main(root: Path, name: str) -> int:
    """Run it until it ends."""
    plan = load(root)
    machine = next(candidate for candidate in plan.machines if candidate.name == name)
    ours, its = socket.socketpair()

    def run(alive: int) -> None:
        ours.close()
        its.send(_WORD)  # the namespaces are there
        its.recv(1)  # the link is there
        inside.run_machine(plan, machine, alive)

    pid, _alive = start_first_process(cgroups.make(name), run)
    its.close()
    if ours.recv(1):
        network.connect(machine)
        ours.send(_WORD)
    _pid, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
