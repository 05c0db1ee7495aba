"""The web page in this process, in a thread of its own: what it knows is put in by the test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from fleet.callout.keys import Keys
from fleet.callout.metrics import Metrics
from fleet.contract.config import WebPage
from fleet.process.health import listen
from fleet.web.acceptor import Acceptor
from fleet.web.application import Application
from fleet.web.connections import Limits, Stage
from fleet.web.service import https_server
from fleet.web.source import KUBERNETES, NATS
from tests.support.tls import Tls

NOW = "2026-11-29T12:00:00Z"
T = TypeVar("T")
Json = dict[str, Any]


def web_page(tls: Tls, **changes: object) -> WebPage:
    """A configuration for a page on a free port of 127.0.0.1."""
    page = WebPage(
        host="127.0.0.1",
        port=0,
        certificate=tls.cert_file.read_text(),
        key=tls.key_file.read_text(),
        nats_user="",
        nats_pass="",
        issuer="https://issuer.invalid",
        issuer_ca=tls.ca,
        project_id="project-1",
        cli_client_id="client-1",
    )
    return msgspec.structs.replace(page, **changes)


class RunningPage:
    """Serves until `close`. Everything that touches what it knows goes by `do`."""

    def __init__(self, page: WebPage, namespace: str = "fleet-system", limits: Limits | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="web page", daemon=True)
        self._thread.start()
        self._listener = listener = listen("127.0.0.1", page.port)
        self.url = f"https://localhost:{listener.getsockname()[1]}"
        self.parts = self.do(lambda: Application(page, namespace, Keys(page.issuer, page.issuer_ca, Metrics())))
        self._server = https_server(self.parts.asgi, page, limits)
        self._serving = asyncio.run_coroutine_threadsafe(self._server.serve([listener]), self._loop)
        for source in (KUBERNETES, NATS):
            self.do(lambda source=source: self.parts.store.sources.mark_available(source))

    async def _hang_up(self) -> None:
        """Drop what a browser still holds open."""
        self._server.hang_up()
        await asyncio.sleep(0.05)  # a transport ends in the loop's next turns

    def do(self, work: Callable[[], T]) -> T:
        """Do something in the page's own loop."""

        async def there() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(30)

    def advance_clock(self, seconds: float) -> None:
        """Judge from now on whether sessions are open as if so much time had passed."""
        self.do(lambda: vars(self.parts.sessions).update(_now=lambda: time.time() + seconds))

    def kept_for_browsers(self) -> int:
        """Bytes that wait for browsers to read them, beside what the kernel holds."""
        connections = tuple(self._server.server_state.connections)
        return sum(one.transport.get_write_buffer_size() for one in connections)  # type: ignore[union-attr]

    def acceptors(self) -> tuple[Acceptor, ...]:
        """Where connections are accepted."""
        return self._server.acceptors

    def connections(self, *stages: Stage) -> int:
        """Connections in these stages."""
        return self.do(lambda: sum(acceptor.connections.number(*stages) for acceptor in self._server.acceptors))

    def cookie(self, lasts: float = 3600, subject: str = "user-1") -> dict[str, str]:
        """The cookie of somebody who is signed in."""
        text, _ = self.do(lambda: self.parts.sessions.begin(subject, subject, time.time() + lasts))
        return {self.session_cookie: text}

    def cookie_header(self, subject: str = "user-1") -> str:
        """The same as it travels."""
        ((name, value),) = self.cookie(subject=subject).items()
        return f"{name}={value}"

    @property
    def session_cookie(self) -> str:
        """The name of the cookie of a session."""
        return self.parts.sessions.cookie

    @property
    def login_cookie(self) -> str:
        """The name of the cookie of a sign-in under way."""
        return self.parts.sign_in.logins.cookie

    def show(self, *devices: Json, deployments: tuple[Json, ...] = ()) -> None:
        """What Kubernetes lists."""
        known = self.parts.store
        self.do(lambda: known.replace_objects("Device", [msgspec.json.encode(one) for one in devices]))
        self.do(lambda: known.replace_objects("FleetDeployment", [msgspec.json.encode(one) for one in deployments]))

    def change(self, kind: str, item: Json, *, deleted: bool = False) -> None:
        """One object that changed."""
        self.do(lambda: self.parts.store.apply_change(kind, msgspec.json.encode(item), deleted=deleted))

    def close(self) -> None:
        """End it; a second time does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self.parts.close(), self._loop).result(10)
        self._server.should_exit = True
        self._serving.result(10)
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(10)
        self._listener.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


def condition(kind: str, status: str, reason: str, message: str = "", since: str = NOW) -> Json:
    """As the operator writes it."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
        "observedGeneration": 1,
    }


ONLINE = condition("Online", "True", "HeartbeatReceived")
OFFLINE = condition("Online", "False", "HeartbeatMissed", "not heard since 11:58", "2026-11-29T11:58:00Z")
INFO: Json = {
    "type": "info",
    "agentVersion": "v0.1.0",
    "arch": "x86_64",
    "os": "Debian 12",
    "kernel": "6.1",
    "memory": 2**30,
    "disk": 2**34,
    "bootId": "boot-1",
    "engine": "podman 4.3",
}


def device(name: str, *conditions: Json, site: str = "", version: int = 1, **status: Any) -> Json:  # noqa: ANN401
    """A `Device` as Kubernetes tells it."""
    labels = {"site": site} if site else {}
    return {
        "metadata": {
            "name": name,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": NOW,
            "labels": labels,
        },
        "spec": {"subject": f"subject-of-{name}"},
        "status": {"info": INFO, "conditions": list(conditions or (ONLINE,)), **status},
    }


def workload(name: str, phase: str, reason: str, message: str = "", generation: int = 1) -> Json:
    """An entry of a device's `status.workloads`."""
    return {
        "name": name,
        "generation": generation,
        "phase": phase,
        "reason": reason,
        "message": message,
        "image": "sha256:abc",
        "since": NOW,
    }


def deployment(name: str, condition: Json, *, version: int = 1, **status: Any) -> Json:  # noqa: ANN401
    """A `FleetDeployment` as Kubernetes tells it, with secrets where people put them."""
    counts = {"matched": 2, "updated": 2, "ready": 1, "failed": 0, "observedGeneration": 1}
    return {
        "metadata": {
            "name": name,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": NOW,
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary-annotation"},
        },
        "spec": {
            "workload": {
                "image": "registry.example.org/web:1",
                "command": ["run", "canary-argument"],
                "env": {"PASSWORD": "canary-environment"},
            },
            "selector": {"matchLabels": {"site": "lab"}},
            "strategy": {"type": "Rolling", "maxUnavailable": 1},
        },
        "status": {**counts, "conditions": [condition], **status},
    }
