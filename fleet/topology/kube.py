"""Kubernetes' API as we use it: server-side apply, read, patch, delete."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPException
from typing import TypeVar

from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, NotPermitted, TimedOut, Unreachable
from fleet.kubeconfig import access
from fleet.topology.capabilities import Applied, Json
from fleet.topology.kinds import api_path
from fleet.topology.kube_http import KubeConnection
from fleet.topology.patience import patient

MANAGER = "fleet"
"""Our field manager: what we apply is ours, and what others set stays theirs."""
_PAGE = 500
"""Objects in one answer to a list."""
_OUTAGE = 20.0
"""Seconds for which an API server may be away before we give up."""
_SETTLE = 20.0
"""Seconds for a definition to be established, and for a deleted object to go."""

_AWAY = {429, 500, 502, 503, 504}
_REFUSALS: dict[int, tuple[type[FleetError], str]] = {
    HTTPStatus.BAD_REQUEST: (InvalidInput, "correct the value that the message names"),
    HTTPStatus.UNAUTHORIZED: (NotPermitted, "log in to the cluster again: the credentials expired or are unknown"),
    HTTPStatus.FORBIDDEN: (NotPermitted, "ask the cluster's admin for this right, or use another context"),
    HTTPStatus.NOT_FOUND: (NotFound, "check the name with `fleet device list` or `fleet deployment list`"),
    HTTPStatus.UNPROCESSABLE_ENTITY: (InvalidInput, "correct the value that the message names"),
}

T = TypeVar("T")


class _Away(Exception):  # noqa: N818 - never leaves this module
    """The API server is not there, or says that it is not ready."""


class KubeClient:
    """A connection to an API server, by the rules of kubeconfig. Survives a restart of the server."""

    def __init__(self, *, context: str = "") -> None:
        """Read the kubeconfig that `KUBECONFIG` names, or the pod's own account.

        Raises:
            InvalidInput: there is no usable configuration.
            NotFound: a file that it names is not there.
        """
        found = access(context)
        self.host = found.url
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
        path = f"{api_path(kind, name, namespace)}?fieldManager={MANAGER}"
        after = self.request("PATCH", path, item, content="application/apply-patch+yaml")
        if kind == "CustomResourceDefinition":
            self._await_established(name)
        return Applied(f"{kind} {name}", before is None or _revision(before) != _revision(after))

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
        items: list[Json] = []
        token = ""
        while True:
            page = self.request("GET", f"{api_path(kind, '', namespace)}?limit={_PAGE}&continue={token}")
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items

    def create(self, item: Json) -> Json:
        """Create an object.

        Raises:
            Conflict: there is one of that name.
        """
        kind, _, namespace = _identify(item)
        return self.request("POST", f"{api_path(kind, '', namespace)}?fieldManager={MANAGER}", item)

    def patch(self, kind: str, name: str, namespace: str, change: Json) -> Json:
        """Merge a change into an object.

        Raises:
            NotFound: there is none of that name.
        """
        path = f"{api_path(kind, name, namespace)}?fieldManager={MANAGER}"
        return self.request("PATCH", path, change, content="application/merge-patch+json")

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
        wish = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        return self.request("POST", path, wish)["status"]["token"]

    def _await_established(self, name: str) -> None:
        def established() -> str | None:
            found = self.find("CustomResourceDefinition", name) or {}
            conditions: list[Json] = found.get("status", {}).get("conditions") or []  # null at first
            served = any(item["type"] == "Established" and item["status"] == "True" for item in conditions)
            return name if served else None

        wait_for(established, f"the definition {name} to be established", _SETTLE)

    def request(self, method: str, path: str, body: Json | None = None, *, content: str = "application/json") -> Json:
        """One request; while the server is away it is repeated with growing pauses.

        Raises:
            InvalidInput: 400 or 422: the server does not accept the content.
            NotPermitted: 401 or 403.
            NotFound: 404.
            Conflict: 409.
            Unreachable: no server, or one that cannot answer, for 20 s.
        """
        try:
            return self._once(method, path, body, content)
        except _Away:  # or a connection that was idle for too long
            pass
        try:
            return patient(timeout=_OUTAGE, longest_pause=2)(_Away, self._once, method, path, body, content)
        except _Away as error:
            raise Unreachable(
                f"Kubernetes at {self.host} does not answer: {error}",
                next_step="is the API server up, and is this the right KUBECONFIG?",
            ) from error

    def _once(self, method: str, path: str, body: Json | None, content: str) -> Json:
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._connection.request(method, path, data, content)
        except ssl.SSLCertVerificationError as error:
            raise InvalidInput(
                f"Kubernetes at {self.host} shows a certificate that the kubeconfig's CA did not sign, "
                f"or one for another name: {error.verify_message}",
                next_step="get a fresh kubeconfig for this cluster",
            ) from error
        except (HTTPException, OSError) as error:
            raise _Away(str(error) or type(error).__name__) from error
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise self._refused(answer.status, answer.body, f"{method} {path.partition('?')[0]}")
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise InvalidInput(
                f"{self.host} answers, but not as Kubernetes does",
                next_step="is this the API server's address, or a proxy's page?",
            ) from error

    def _refused(self, status: int, data: bytes, what: str) -> Exception:
        message = _message(data)
        if status in _AWAY:
            return _Away(f"{status} {message}")
        what = f"Kubernetes at {self.host}: {what}: {message}"
        if status == HTTPStatus.CONFLICT:
            return _conflict(what)
        if "exceeded quota" in message:
            return NotPermitted(what, next_step="ask for a larger quota, or make room in the namespace, then repeat")
        kind, next_step = _REFUSALS.get(status, (FleetError, "see the API server's log"))
        return kind(f"{what} ({status})", next_step=next_step)


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


def _conflict(what: str) -> Conflict:
    managers = sorted(set(re.findall(r'conflicts? with "([^"]+)"', what)))
    if managers:
        return Conflict(what, next_step=f"{', '.join(managers)} set these fields: let it release them first")
    return Conflict(what, next_step="read it again, and decide again")


def _message(data: bytes | str) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        text = data.decode(errors="replace") if isinstance(data, bytes) else data
        return text.strip()[:300] or "no reason given"
