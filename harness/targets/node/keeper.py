"""`python -m harness.targets.node.keeper [--end] ROOT`: the process outside that starts a site, watches it, cleans up.

It inherits the lock on ROOT, and its standard input is a pipe of the owner: end-of-file there, or the end of the site,
ends both. A line there, whatever it says, lets the site live on without its owner, until `--end`.
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

from harness import cgroups, folders
from harness.targets.node import inside
from harness.targets.node.init import Forward
from harness.targets.node.namespaces import start_first_process
from harness.targets.node.plan import API_PORT, SITE_ADDRESS, Plan, load


def main(argv: list[str]) -> int:
    """Keep a site until its owner or it ends; or end one that was kept."""
    if argv[:1] == ["--end"]:
        return end(Path(argv[1]))
    root = Path(argv[0])
    plan = load(root)
    forwards = _listen(plan)
    groups = cgroups.make(plan.cgroup)
    site, _alive = start_first_process(groups, lambda alive: inside.run_site(plan, alive, forwards))
    for forward in forwards:
        forward.listener.close()
    (root / "site.pid").write_text(str(site))
    _say(f"site started, pid {site}")
    _say(_wait(site))
    os.kill(site, signal.SIGKILL)
    os.waitpid(site, 0)  # returns only when the whole pid namespace is dead
    _say(f"left: {cgroups.await_removed(plan.cgroup) or 'nothing'}")
    return 0


def end(root: Path) -> int:
    """End a site that lives on without an owner, and remove its folder; 1 where there is none."""
    try:
        with (root / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # held, so the pid is the site's
                os.kill(int((root / "site.pid").read_text()), signal.SIGKILL)
                fcntl.flock(lock, fcntl.LOCK_EX)  # free once its keeper has cleaned up
    except (OSError, ValueError) as error:
        print(f"no site lives in {root}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    folders.remove(root)
    return 0


def _listen(plan: Plan) -> list[Forward]:
    machines = tuple(machine.address for machine in plan.machines)
    wanted = [(plan.api_port, (SITE_ADDRESS,), API_PORT), *((port, machines, port) for port in plan.node_ports)]
    return [
        Forward(socket.create_server(("127.0.0.1", outside), backlog=512), hosts, port)
        for outside, hosts, port in wanted
    ]


def _wait(site: int) -> str:
    """Until the site or the owner ends; says which."""
    ended = os.pidfd_open(site)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN | select.POLLHUP)
    while True:
        for handle, _event in poll.poll():
            if handle == ended:
                return "the site ended"
            if not os.read(sys.stdin.fileno(), 64):
                return "the owner ended"
            poll.unregister(sys.stdin)
            _say("lives on without an owner")


def _say(text: str) -> None:
    print(f"{time.time():.3f} keeper: {text}", flush=True)  # noqa: T201 - the log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
