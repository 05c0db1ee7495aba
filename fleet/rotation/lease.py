"""One rotation at a time: a Lease of Kubernetes, renewed while its holder lives, and taken over when it does not.

Two rotations at once would restart the same servers for each other's steps, so the second one is refused, also for
another secret. A holder that is gone from this machine is recognised at once, one elsewhere when its time is up.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.contract.errors import Conflict, FleetError, why
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import LEASE, meta

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

_SECONDS = 30
_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"


class LeaseLost(FleetError):  # noqa: N818 - reads as what it is
    """A rotation may not go on, for another one may have begun. It is no `Conflict`: to look again does not help."""

    exit_code = Conflict.exit_code


class Held:
    """A lease in our hands."""

    def __init__(self, kube: KubeClient, namespace: str, what: str) -> None:
        """Contact nobody yet; `what` is shown to others who want the lease."""
        self._kube = kube
        self._namespace = namespace
        self.holder = f"{what} by {_here()}"
        self._stop = threading.Event()
        self._lost = ""
        self._renewed = 0.0

    def take(self) -> None:
        """Take it.

        Raises:
            Conflict: somebody else has it.
        """
        asked = _now()
        found = self._kube.find("Lease", LEASE, self._namespace)
        if found is None:
            self._kube.create(self.object())
        else:
            _require_free(found)
            self._write(found["metadata"]["resourceVersion"])
        self._renewed = asked

    def check(self) -> None:
        """See that it is still ours, before a step.

        Raises:
            LeaseLost: it is not.
        """
        late = "" if _now() - self._renewed < _SECONDS else f"it was not renewed for {_SECONDS} s"
        if reason := self._lost or late:
            raise LeaseLost(f"this rotation lost its lease: {reason}", next_step="repeat the command: it goes on")

    def keep(self) -> None:
        """Renew it until told to stop; a thread's work, with a connection of its own."""
        from fleet.kube.client import KubeClient  # noqa: PLC0415

        kube: KubeClient | None = None
        while not self._stop.wait(_SECONDS / 3):
            try:
                kube = kube or KubeClient()
                asked = _now()
                found = kube.find("Lease", LEASE, self._namespace)
                if found is None or _spec_of(found).get("holderIdentity") != self.holder:
                    self._lost = "somebody else took it"
                    return
                kube.patch("Lease", LEASE, self._namespace, self._change(found["metadata"]["resourceVersion"]))
                self._renewed = asked
            except Exception as error:  # the rotation must not go on without a lease, whatever it was
                self._lost = why(error)
                return

    def give_back(self) -> None:
        """Let others have it."""
        self._stop.set()
        found = self._kube.find("Lease", LEASE, self._namespace)
        if found is not None and _spec_of(found).get("holderIdentity") == self.holder:
            self._kube.delete([self.object()])

    def _write(self, version: str) -> None:
        try:
            self._kube.patch("Lease", LEASE, self._namespace, self._change(version))
        except Conflict as error:
            raise Conflict("another rotation has just begun", next_step="wait for its end, then repeat") from error

    def _change(self, version: str) -> Json:
        return {"metadata": {"resourceVersion": version}, "spec": self._spec()}

    def object(self) -> Json:
        """The Lease as we hold it."""
        metadata = meta(LEASE, self._namespace)
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": self._spec()}

    def _spec(self) -> Json:
        now = datetime.now(UTC).strftime(_FORM)
        return {"holderIdentity": self.holder, "leaseDurationSeconds": _SECONDS, "renewTime": now}


@contextmanager
def lease(kube: KubeClient, namespace: str, what: str) -> Generator[Held]:
    """Hold the lease of a namespace for the rotation of `what`.

    Raises:
        Conflict: somebody else has it.
    """
    held = Held(kube, namespace, what)
    held.take()
    threading.Thread(target=held.keep, daemon=True, name="lease").start()
    try:
        yield held
    finally:
        held.give_back()


def require_no_rotation(kube: KubeClient, namespace: str) -> None:
    """See that no secret of a server is being rotated: an install at the same time would undo a step of it.

    Raises:
        Conflict: one is.
    """
    found = kube.find("Lease", LEASE, namespace)
    if found is not None:
        _require_free(found)


def _spec_of(found: Json) -> Json:
    """Nothing where nobody has it: Kubernetes takes a Lease without one."""
    spec: Json | None = found.get("spec")
    return spec or {}


def _require_free(found: Json) -> None:
    spec = _spec_of(found)
    holder: str = spec.get("holderIdentity") or ""
    if holder and not _gone(holder) and not _over(spec):
        raise Conflict(
            f"another rotation is going on: {holder}",
            next_step="wait for its end, then repeat; it restarts the same servers. One that was broken off elsewhere "
            f"is forgotten after {_SECONDS} s",
        )


def _now() -> float:
    """Seconds of a clock that goes on while this machine sleeps: others do not sleep then."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _here() -> str:
    return f"{_machine()}/{os.getpid()}"


def _machine() -> str:
    return f"{socket.gethostname()}-{uuid.getnode():x}"


def _gone(holder: str) -> bool:
    """Whether the holder ran on this machine, and has ended."""
    host, _, pid = holder.rpartition(" by ")[2].rpartition("/")
    if host != _machine() or not pid.isdecimal():
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return Path("/proc/self").exists()
    return state in {"Z", "X"}


def _over(spec: Json) -> bool:
    try:
        renewed = datetime.strptime(spec["renewTime"], _FORM).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return True
    return datetime.now(UTC) - renewed > timedelta(seconds=int(spec.get("leaseDurationSeconds") or _SECONDS))
