"""A libvirt of our own, whose end ends every machine: in pid and mount namespaces that die with this process.

Nothing of it is seen by, or left to, a libvirt of the host: its folders are memory file systems of its own, and it is
reached by a socket in the world's folder. Machines are emulated (`qemu`), so no host needs nested virtualization.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

from harness.devices.domain import binding, hypervisor
from harness.errors import TargetUnavailable
from harness.processes.spawn import await_ready, let_go, spawn, terminate
from harness.processes.spec import write_atomic

PROGRAMS = ("libvirtd", "qemu-system-x86_64", "qemu-img", "unshare")
_SCRIPT = """\
set -e
for folder in /run /etc/libvirt /var/lib /var/log /var/cache; do mount -t tmpfs tmpfs $folder; done
cp "$1/qemu.conf" /etc/libvirt/
# It insists on a user that only Debian's full package makes, also where qemu.conf names another.
for file in passwd group; do
  { cat /etc/$file; echo "libvirt-qemu:x:64055:$([ $file = group ] || echo 64055::/:/usr/sbin/nologin)"; } > /run/$file
  mount --bind /run/$file /etc/$file
done
# Not by exec: the namespace's first process must bury what libvirtd leaves behind, or it waits for ever.
libvirtd --config "$1/libvirtd.conf" &
wait $!
"""
_QEMU = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""


@contextlib.contextmanager
def libvirtd(folder: Path, world: Path | None = None, keep: Callable[[], bool] | None = None) -> Generator[str]:
    """The daemon while the `with` lasts, in a folder that it may fill; yields its URI.

    With `keep` it is a process of `world` that can outlive us, and does if that returns true at the end.

    Raises:
        TargetUnavailable: a program or the right to make namespaces is missing.
        HarnessError: it does not come up.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.getuid():
        raise TargetUnavailable(
            f"no virtual machine can run here: {', '.join(missing) or 'only root can make namespaces'}",
            next_step="./scripts/e2e-machines.sh as root installs what is missing",
        )
    binding()
    socket = folder / "libvirt-sock"
    write_atomic(folder / "qemu.conf", _QEMU.encode())
    write_atomic(
        folder / "libvirtd.conf",
        f'unix_sock_dir = "{folder}"\nauth_unix_rw = "none"\nlog_outputs = "3:stderr"\n'.encode(),
    )
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    argv += ["sh", "-c", _SCRIPT, "libvirtd", str(folder)]
    uri = f"qemu+unix:///system?socket={socket}"
    env = None if world is None else {**os.environ, "FLEET_WORLD": str(world)}
    log = folder / "libvirtd.log"
    process = spawn(argv, log=log, env=env, lasting=keep is not None)
    try:
        await_ready(process, "libvirtd", log, hypervisor(uri).answers, 60)
        yield uri
    finally:
        if keep is not None and keep():
            let_go(process)
        else:
            terminate(process)
