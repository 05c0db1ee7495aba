"""What containerd makes of images, made once and linked into every machine: unpacking takes longer than all the rest.

Content and unpacked layers are only ever read, so machines share their files; the databases that name them are copied.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from fleet.process.user_folders import user_cache
from harness.errors import HarnessError
from harness.images.server import Archive
from harness.processes.search_path import search_path
from harness.processes.spawn import running, socket_answers
from images.layers import digest_of, file_digest, whole

_KEPT = 3
"""Sets of images; a fleet server's takes 260 MB."""
_CP = "/bin/cp"
_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{state}/sock"
[plugins.'io.containerd.internal.v1.opt']
path = "{state}/opt"
"""


def lay_down(archives: Sequence[Archive], targets: Iterable[Path]) -> None:
    """Make each target the root of a containerd that has these images, before that is started.

    Raises:
        HarnessError: containerd does not take one of them, or does not start.
    """
    kept = user_cache() / "fleet" / "containerd"
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = kept / _key(archives)
        if not store.is_dir():
            _make(store, archives)
            _forget_oldest(kept)
        os.utime(store)
        for target in targets:
            _link(store, target)


def ctr(socket: Path, *arguments: str) -> list[str]:
    """A command line of containerd's client, in the kubelet's namespace."""
    # Without a limit it waits for ever for a containerd that is gone.
    return ["ctr", "--connect-timeout=2s", "--timeout=120s", f"--address={socket}", "--namespace=k8s.io", *arguments]


def refused(archive: Archive, who: str, problem: str, log: Path) -> HarnessError:
    """The error when a containerd does not take an image."""
    return HarnessError(
        f"{who} does not take {archive.image} from {archive.path}: {problem}",
        next_step=f"is it a docker archive? see {log}",
    )


def _key(archives: Sequence[Archive]) -> str:
    program = Path(shutil.which("containerd", path=search_path()) or "")
    files = (program, *(archive.path for archive in archives))
    return digest_of(_CONFIG.encode(), *(file_digest(path).encode() for path in files))[:16]


def _make(store: Path, archives: Sequence[Archive]) -> None:
    with whole(store) as made, tempfile.TemporaryDirectory(prefix="containerd-") as state:
        config, log, socket = Path(state) / "config.toml", Path(state) / "log", Path(state) / "sock"
        config.write_text(_CONFIG.format(root=made, state=state))
        argv = ["unshare", "--mount", "containerd", "--config", str(config)]
        ready, env = partial(socket_answers, socket), {"PATH": search_path()}
        with running(argv, name="containerd", log=log, ready=ready, timeout=60, env=env):
            for archive in archives:
                argv = ctr(socket, "images", "import", str(archive.path))
                done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    raise refused(archive, "containerd", done.stderr.strip(), log)


def _forget_oldest(kept: Path) -> None:
    stores = sorted(filter(Path.is_dir, kept.iterdir()), key=lambda path: path.stat().st_mtime)
    for old in stores[:-_KEPT]:
        shutil.rmtree(old)


def _link(store: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if subprocess.run([_CP, "-al", store, target], capture_output=True, check=False).returncode != 0:
        shutil.rmtree(target, ignore_errors=True)  # the cache is on another file system
        subprocess.run([_CP, "-a", store, target], capture_output=True, check=True)
    for database in target.rglob("*.db"):
        own = database.with_suffix(".own")
        shutil.copyfile(database, own)
        own.replace(database)
