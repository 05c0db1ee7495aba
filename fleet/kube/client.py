"""Kubernetes' API as we use it: server-side apply, read, patch, delete."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from http.client import HTTPException
from typing import TypeVar

import msgspec

from fleet.contract.errors import InvalidInput, NotFound, NotPermitted, TimedOut, Unreachable
from fleet.contract.parsing import NOT_JSON
from fleet.kube.http import Answer, KubeConnection
from fleet.kube.kubeconfig import access
from fleet.kube.paths import api_path
from fleet.kube.refusals import Away, refused, require_same_clock, untrusted
from fleet.process.deadline import Overdue
from fleet.process.failures import in_words
from fleet.process.retry import retrying
from fleet.topology.capabilities import Applied, Json

MANAGER = "fleet"
"""Our field manager: what we apply is ours, and what others set stays theirs."""
_PAGE = 1_000
"""Objects in one answer to a list. While one page is read here, the API server prepares the next: 10,000 devices took a
third less time in ten pages than in one, and as long in twenty."""
_OUTAGE = 20.0
"""Seconds for which an API server may be away before we give up."""
_SETTLE = 20.0
"""Seconds for a definition to be established, and for a deleted object to go."""

T = TypeVar("T")


class _PageMeta(msgspec.Struct, frozen=True):
    next_page: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    metadata: _PageMeta = _PageMeta()


class KubeClient:
    """A connection to an API server, by the rules of kubeconfig. Survives a restart of the server."""

    def __init__(self, *, context: str = "") -> None:
        """Read the kubeconfig that `KUBECONFIG` names, or the pod's own account.

        Raises:
            InvalidInput: there is no usable configuration.
            NotFound: a file that it names is not there.
        """
        found = access(context)
        self.host, self.in_pod = found.url, found.in_pod
        self._connection = KubeConnection(found)

    def apply(self, objects: Sequence[Json]) -> list[Applied]:
        """Server-side apply, in order; definitions are established when it returns.

        Raises:
            Conflict: a field belongs to another manager, which the message names.
            NotPermitted, InvalidInput, Unreachable: see `request`.
        """
        return [self._apply(item) for item in objects]

    def _apply(self, item: Json) -> Applied:
        kind, name, namespace = _identify(item)
        before = self.find(kind, name, namespace)
        after = self.put(item)
        if kind == "CustomResourceDefinition":
            self._await_established(name)
        return Applied(f"{kind} {name}", before is None or _revision(before) != _revision(after))

    def put(self, item: Json, *, dry_run: bool = False, force: bool = False) -> Json:
        """Server-side apply of one object; how it is afterwards, or would be. `force` takes fields over from others.

        Raises:
            Outdated: `item` names a `resourceVersion`, and the object has another by now.
            Conflict, NotPermitted, InvalidInput, Unreachable: see `apply`.
        """
        asked = f"{api_path(*_identify(item))}?fieldManager={MANAGER}" + ("&dryRun=All" if dry_run else "")
        asked += "&force=true" if force else ""
        return self.request("PATCH", asked, item, content="application/apply-patch+yaml")

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """One object, or None when there is none, or when its kind is unknown to the server."""
        try:
            return self.request("GET", api_path(kind, name, namespace))
        except NotFound:
            return None

    def list(self, kind: str, namespace: str) -> list[Json]:
        """All objects of a kind in a namespace, or in all of them where it is empty.

        Raises:
            NotFound: the server does not know the kind.
        """
        return [json.loads(item) for item in self.list_raw(kind, namespace)]

    def list_raw(self, kind: str, namespace: str, query: str = "") -> Iterator[bytes]:
        """As `list`, but each as JSON: for thousands of objects of which the caller needs a part.

        `query` selects among them, quoted as in a URL: `labelSelector=…` or `fieldSelector=…`.
        While the caller looks at one page, the server works on the next.

        Raises:
            NotFound: the server does not know the kind.
        """
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most lists have one page

        asked = f"{api_path(kind, '', namespace)}?{query}&limit={_PAGE}"
        page = self._page(asked, "")
        with ThreadPoolExecutor(1) as ahead:
            while token := page.metadata.next_page:
                coming = ahead.submit(self._page, asked, token)
                yield from map(bytes, page.items)
                page = coming.result()
        yield from map(bytes, page.items)

    def _page(self, asked: str, token: str) -> _Page:
        return self._parsed(self._retried("GET", f"{asked}&continue={token}").body, _Page)

    def log(self, pod: str, namespace: str, lines: int) -> str:
        """The last lines that a pod's first container has written.

        Raises:
            NotFound, NotPermitted, Unreachable: see `request`.
        """
        answer = self._retried("GET", f"{api_path('Pod', pod, namespace)}/log?tailLines={lines}")
        return answer.body.decode(errors="replace")

    def create(self, item: Json) -> Json:
        """Create an object.

        Raises:
            Conflict: there is one of that name.
        """
        kind, _, namespace = _identify(item)
        return self.request("POST", f"{api_path(kind, '', namespace)}?fieldManager={MANAGER}", item)

    def patch(self, kind: str, name: str, namespace: str, change: Json | list[Json]) -> Json:
        """Merge a change into an object (RFC 7386), or carry out a list of operations on it (RFC 6902).

        Raises:
            NotFound: there is none of that name.
        """
        path = f"{api_path(kind, name, namespace)}?fieldManager={MANAGER}"
        content = "application/json-patch+json" if isinstance(change, list) else "application/merge-patch+json"
        return self.request("PATCH", path, change, content=content)

    def delete(self, objects: Sequence[Json]) -> list[Applied]:
        """Delete, in order, without waiting for finalizers; a missing one is fine."""
        return [self._delete(*_identify(item)) for item in objects]

    def _delete(self, kind: str, name: str, namespace: str) -> Applied:
        try:
            self.request("DELETE", api_path(kind, name, namespace))
        except NotFound:
            return Applied(f"{kind} {name}", changed=False)
        return Applied(f"{kind} {name}", changed=True)

    def token(self, account: str, namespace: str, *, seconds: int) -> str:
        """A ServiceAccount's token (TokenRequest API); a secret."""
        path = f"{api_path('ServiceAccount', account, namespace)}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        return self.request("POST", path, body)["status"]["token"]

    def require_same_clock(self) -> None:
        """See that this machine's clock is the API server's: what is made and judged here goes by it.

        Raises:
            NotPermitted: they are more than an hour apart.
        """
        require_same_clock(self.host, self._retried("GET", "version").date)

    def user(self) -> str:
        """Our name as the server knows it; empty where it does not tell (SelfSubjectReview is of Kubernetes 1.28)."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            found = self.request("POST", "apis/authentication.k8s.io/v1/selfsubjectreviews", body)
        except (InvalidInput, NotFound, NotPermitted):
            return ""
        return str(found["status"]["userInfo"].get("username", ""))[:128]

    def _await_established(self, name: str) -> None:
        def established() -> str | None:
            found = self.find("CustomResourceDefinition", name) or {}
            conditions: list[Json] = found.get("status", {}).get("conditions") or []  # null at first
            served = any(item["type"] == "Established" and item["status"] == "True" for item in conditions)
            return name if served else None

        wait_for(established, f"the definition {name} to be established", _SETTLE)

    def request(
        self, method: str, path: str, body: Json | list[Json] | None = None, *, content: str = "application/json"
    ) -> Json:
        """One request; while the server is away it is repeated with growing pauses.

        Raises:
            InvalidInput: 400 or 422: the server does not accept the content.
            NotPermitted: 401 or 403.
            NotFound: 404.
            Conflict: 409.
            Unreachable: no server, or one that cannot answer, for 20 s.
        """
        return self._parsed(self._retried(method, path, body, content).body, Json)

    def _retried(
        self, method: str, path: str, body: Json | list[Json] | None = None, content: str = "application/json"
    ) -> Answer:
        try:
            return self._once(method, path, body, content)
        except Away:  # or a connection that was idle for too long
            pass
        try:
            return retrying(timeout=_OUTAGE, longest_pause=2)(Away, self._once, method, path, body, content)
        except Away as error:
            raise Unreachable(
                f"Kubernetes at {self.host} does not answer: {error}",
                next_step="is the API server up, and is this the right KUBECONFIG?",
            ) from error

    def _once(self, method: str, path: str, body: Json | list[Json] | None, content: str) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._connection.request(method, path, data, content)
        except ssl.SSLCertVerificationError as error:
            raise untrusted(self.host, error) from error
        except Overdue as error:  # a repetition would take as long
            raise Unreachable(
                f"Kubernetes at {self.host} does not end its answer to {method} {path.partition('?')[0]}",
                next_step="is the line very slow, or a proxy in between? repeat the command: it does what is left",
            ) from error
        except (HTTPException, OSError) as error:
            raise Away(in_words(error)) from error
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise refused(self.host, answer.status, answer.body, f"{method} {path.partition('?')[0]}")
        return answer

    def _parsed(self, data: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=kind)
        except NOT_JSON as error:
            raise InvalidInput(
                f"{self.host} answers, but not as Kubernetes does",
                next_step="is this the API server's address, or a proxy's page?",
            ) from error


def wait_for(look: Callable[[], T | None], condition: str, seconds: float, *, interval: float = 0.05) -> T:
    """Look until something is seen, under a deadline.

    Raises:
        TimedOut: it was not seen in time; names the condition.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen is not None:
            return seen
        if time.monotonic() >= deadline:
            raise TimedOut(
                f"waited {seconds:g} s for {condition}", next_step="see `fleet server status`, and the operator's log"
            )
        time.sleep(interval)


def _identify(item: Json) -> tuple[str, str, str]:
    meta = item["metadata"]
    return item["kind"], meta["name"], meta.get("namespace", "")


def _revision(item: Json) -> str:
    return item["metadata"]["resourceVersion"]
