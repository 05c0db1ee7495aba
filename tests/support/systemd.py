"""A real systemd as the first process of a namespace of its own: for what the systemctl double must be like."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path

from harness.processes.spawn import signal_group, spawn, tail
from harness.scenario.command import Result, run
from harness.wait import wait_until

_SYSTEMD = Path("/lib/systemd/systemd")
_BOOT = """
set -e
mount --make-rprivate /
for folder in /run /etc/systemd/system /usr/local/bin /sys/fs/cgroup; do mount -t tmpfs lab "$folder"; done
mkdir -p /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd lab /sys/fs/cgroup/systemd || mount -t cgroup2 lab /sys/fs/cgroup
printf '[Unit]\\nDescription=lab\\nDefaultDependencies=no\\n' > /etc/systemd/system/lab.target
export container=lab
exec /lib/systemd/systemd --unit=lab.target --log-target=console --show-status=no
"""


def missing() -> str:
    """Why a real systemd cannot be started here; empty when it can."""
    if os.geteuid() != 0:
        return "a namespace with a systemd in it needs root"
    if not _SYSTEMD.exists() or shutil.which("nsenter") is None:
        return "systemd or util-linux is not installed"
    tried = subprocess.run(
        ["unshare", "--pid", "--mount", "--cgroup", "--fork", "--mount-proc", "true"], capture_output=True, check=False
    )
    return tried.stderr.decode().strip()


class RealSystemd:
    """Satisfies the tests' `Lab`."""

    def __init__(self, first: int, folder: Path) -> None:
        self._enter = ["nsenter", "--target", str(first), "--pid", "--mount", "--cgroup"]
        self._folder = folder

    def run(self, argv: Sequence[str], *, timeout: float = 30) -> Result:
        """Type a command beside it."""
        line = " ".join(argv)
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        everything = [*self._enter, *argv]
        return run(everything, line, env=env, folder=self._folder, deadline=timeout, on_line=lambda _: None)

    def read(self, path: str) -> bytes:
        """A file as its services see it."""
        done = subprocess.run([*self._enter, "cat", path], capture_output=True, check=False)
        if done.returncode:
            raise FileNotFoundError(path)
        return done.stdout

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """A file for its services."""
        script = f'mkdir -p "$(dirname {path})"; cat > {path}; chmod {mode:o} {path}'
        subprocess.run([*self._enter, "sh", "-c", script], input=data, check=True)


@contextlib.contextmanager
def real_systemd(folder: Path) -> Generator[RealSystemd]:
    """For the length of a `with`; everything that it started ends with it."""
    argv = ["unshare", "--pid", "--mount", "--cgroup", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    log = folder / "systemd.log"
    unshare = spawn([*argv, "sh", "-c", _BOOT], log=log)
    try:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        first = wait_until(children.read_text, "unshare has a child", timeout=30, until=str.split)
        lab = RealSystemd(int(first), folder)

        def up() -> str:
            return lab.run(["systemctl", "is-active", "lab.target"]).stdout + tail(log, 5)

        wait_until(up, "systemd has reached its target", timeout=30, until=lambda output: output.startswith("active"))
        yield lab
    finally:
        signal_group(unshare.pid, signal.SIGKILL)  # SIGTERM means something else to the first process
        unshare.wait()
