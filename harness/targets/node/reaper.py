"""`python -m harness.targets.node.reaper [--end] ROOT`: starts a cluster from outside, watches it, cleans up.

It inherits the lock on ROOT. Its standard input is a pipe of the owner. End-of-file on it, or the end of the cluster,
ends both. Any line on it lets the cluster live on without its owner, until `--end`.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from harness.processes import cgroups
from harness.targets.node import inside
from harness.targets.node.init import Forward
from harness.targets.node.namespaces import start_first_process
from harness.targets.node.plan import API_PORT, BRIDGE_ADDRESS, Plan, load
from harness.world import folders


def main(argv: list[str]) -> int:
    """Keep a cluster until its owner or it ends; or end one that was kept."""
    if argv[:1] == ["--end"]:
        return end(Path(argv[1]))
    root = Path(argv[0])
    plan = load(root)
    forwards = _listen(plan)
    groups = cgroups.make(plan.cgroup)
    node_cluster, _alive = start_first_process(groups, lambda alive: inside.run_control_plane(plan, alive, forwards))
    for forward in forwards:
        forward.listener.close()
    (root / "site.pid").write_text(str(node_cluster))
    _say(f"site started, pid {node_cluster}")
    _say(_wait(node_cluster))
    os.kill(node_cluster, signal.SIGKILL)
    os.waitpid(node_cluster, 0)  # returns only when the whole pid namespace is dead
    _say(f"left: {cgroups.await_removed(plan.cgroup) or 'nothing'}")
    return 0


def end(root: Path) -> int:
    """End a cluster that lives on without an owner, and remove its folder; 1 where there is none."""
    try:
        with (root / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # held, so the pid is the cluster's
                os.kill(int((root / "site.pid").read_text()), signal.SIGKILL)
                fcntl.flock(lock, fcntl.LOCK_EX)  # free once its reaper has cleaned up
    except (OSError, ValueError) as error:
        print(f"no cluster lives in {root}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    folders.remove(root)
    return 0


def _listen(plan: Plan) -> list[Forward]:
    machines = tuple(machine.address for machine in plan.machines)
    names = [
        (plan.api_port, (BRIDGE_ADDRESS,), API_PORT),
        *((port, machines, port) for port in plan.node_ports),
    ]
    return [
        Forward(socket.create_server(("127.0.0.1", outside), backlog=512), hosts, port)
        for outside, hosts, port in names
    ]


def _wait(node_cluster: int) -> str:
    """Until the cluster or the owner ends; says which."""
    ended = os.pidfd_open(node_cluster)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN | select.POLLHUP)
    while True:
        for handle, _event in poll.poll():
            if handle == ended:
                return "the cluster ended"
            if not os.read(sys.stdin.fileno(), 64):
                return "the owner ended"
            poll.unregister(sys.stdin)
            _say("lives on without an owner")


def _say(text: str) -> None:
    print(f"{time.time():.3f} reaper: {text}", flush=True)  # noqa: T201 - the log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
