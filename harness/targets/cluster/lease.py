"""The lease on a cluster, so that two runs do not collide: a `coordination.k8s.io` Lease in the server's namespace.

Its times are the API server's own (the `Date` of its answers), so two machines' clocks need not agree. It is renewed in
the background; a run that died stops doing so, and the next one takes the lease over once it has expired.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import getpass
import logging
import os
import socket
import threading
import time
from collections.abc import Generator
from typing import Any

import httpx
import msgspec

from harness.errors import HarnessError, TargetUnavailable
from harness.targets.cluster.policy import RUN_LABEL

Json = dict[str, Any]

NAME = "fleet-test-run"
_API = "coordination.k8s.io/v1"
_log = logging.getLogger("fleet.lease")


class Seen(msgspec.Struct, frozen=True):
    """A lease as the API server holds it. `now` is the server's time; `holder` is empty when nobody has it."""

    item: Json
    holder: str
    since: datetime.datetime
    expires: datetime.datetime
    now: datetime.datetime

    @property
    def free(self) -> bool:
        """Whether it may be taken."""
        return not self.holder or self.now > self.expires


class Lease:
    """Held between `acquire` and `release`. `unfit` says why it is not held any more; empty while it is."""

    def __init__(self, http: httpx.Client, namespace: str, run_id: str, seconds: int) -> None:
        """Contact nothing yet."""
        self._http = http
        self._path = f"/apis/{_API}/namespaces/{namespace}/leases"
        self._meta = {"name": NAME, "namespace": namespace, "labels": {RUN_LABEL: run_id}}
        self._holder = f"{run_id} ({getpass.getuser()}@{socket.gethostname()}, process {os.getpid()})"
        self._seconds = seconds
        self._item: Json = {}
        self._since = ""
        self._until = 0.0
        self._lost = ""
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._renew_for_ever, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take it, and go on renewing it.

        Raises:
            TargetUnavailable: another run has it; the message says who, since when and until when.
        """
        while True:
            seen = self._read()
            if seen is not None and not seen.free:
                raise TargetUnavailable(
                    f"the target is in use by {seen.holder}, since {seen.since:%Y-%m-%d %H:%M:%S} UTC",
                    next_step="wait for that run to end; if it crashed, its lease expires at "
                    f"{seen.expires:%H:%M:%S} UTC ({(seen.expires - seen.now).total_seconds():.0f} s from now)",
                )
            if seen is not None and seen.holder:
                _log.warning("the lease of %s expired at %s; it is taken over", seen.holder, seen.expires)
            if self._put(seen.item if seen else None):
                break
        self._renewer.start()

    def release(self) -> None:
        """Let the next run have it at once."""
        self._ended.set()
        self._renewer.join(self._seconds)
        if not self._lost:
            spec = {**self._item["spec"], "holderIdentity": ""}
            with contextlib.suppress(httpx.HTTPError):
                self._http.put(f"{self._path}/{NAME}", json={**self._item, "spec": spec})

    def unfit(self) -> str:
        """Why nothing may be written under it any more; empty while it is held."""
        if self._lost:
            return self._lost
        if time.monotonic() > self._until:
            return f"the lease on the target could not be renewed for {self._seconds} s, so another run may have it"
        return ""

    def _read(self) -> Seen | None:
        answer = self._http.get(f"{self._path}/{NAME}")
        if answer.status_code == 404:
            return None
        _check(answer, "read")
        item: Json = answer.json()
        spec = item["spec"]
        renewed = _parsed(spec.get("renewTime"))
        length = datetime.timedelta(seconds=spec.get("leaseDurationSeconds") or 0)
        return Seen(
            item, spec.get("holderIdentity") or "", _parsed(spec.get("acquireTime")), renewed + length, _now(answer)
        )

    def _put(self, before: Json | None) -> bool:
        """Write the lease with this run as its holder; False if another run was faster."""
        started = time.monotonic()
        now = f"{_now(self._http.get('/version')):%Y-%m-%dT%H:%M:%S.%fZ}"
        self._since = self._since or now
        turns = (before or {}).get("spec", {}).get("leaseTransitions") or 0
        spec: Json = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": self._seconds,
            "acquireTime": self._since,
            "renewTime": now,
            "leaseTransitions": turns + (0 if self._item else 1),
        }
        if before is None:
            lease: Json = {"apiVersion": _API, "kind": "Lease", "metadata": self._meta, "spec": spec}
            answer = self._http.post(self._path, json=lease)
        else:
            metadata = {**self._meta, "resourceVersion": before["metadata"]["resourceVersion"]}
            answer = self._http.put(f"{self._path}/{NAME}", json={**before, "metadata": metadata, "spec": spec})
        if answer.status_code == 409:
            return False
        _check(answer, "write")
        self._item, self._until = answer.json(), started + self._seconds
        return True

    def _renew_for_ever(self) -> None:
        while not self._ended.wait(self._seconds / 4) and not self._lost:
            try:
                self._renew()
            except (httpx.HTTPError, HarnessError) as error:
                _log.warning("the lease was not renewed: %s", error)

    def _renew(self) -> None:
        if self._put(self._item):
            return
        seen = self._read()
        if seen is None or seen.holder != self._holder:
            self._lost = f"the lease on the target was lost to {seen.holder if seen else 'somebody who deleted it'}"
            _log.error(self._lost)
        else:
            self._item = seen.item


@contextlib.contextmanager
def leased(http: httpx.Client, namespace: str, run_id: str, seconds: int) -> Generator[Lease]:
    """The lease while the `with` lasts.

    Raises:
        TargetUnavailable: another run has it.
    """
    lease = Lease(http, namespace, run_id, seconds)
    try:
        lease.acquire()
    except httpx.HTTPError as error:
        raise TargetUnavailable(f"cannot take the lease on the target: {error}", next_step="run it again") from error
    try:
        yield lease
    finally:
        lease.release()


def _check(answer: httpx.Response, what: str) -> None:
    if answer.is_error:
        raise TargetUnavailable(
            f"cannot {what} the lease on the target: {answer.status_code} {answer.text[:300]}",
            next_step="the login needs get, create and update on leases in the server's namespace",
        )


def _now(answer: httpx.Response) -> datetime.datetime:
    return email.utils.parsedate_to_datetime(answer.headers["date"])


def _parsed(text: str | None) -> datetime.datetime:
    if not text:
        return datetime.datetime.fromtimestamp(0, datetime.UTC)
    return datetime.datetime.fromisoformat(text)
