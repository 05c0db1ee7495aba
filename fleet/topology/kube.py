"""Kubernetes' API as we use it: server-side apply, read, patch, delete. The one module that imports `kubernetes`.

The library is imported when a client is made, for it takes half a second.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import stamina

from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, NotPermitted, TimedOut, Unreachable
from fleet.topology.capabilities import Applied, Json
from fleet.topology.kinds import api_path

if TYPE_CHECKING:
    from kubernetes.client import Configuration

MANAGER = "fleet"
"""Our field manager: what we apply is ours, and what others set stays theirs."""
_REQUEST_TIMEOUT = (3, 20)
"""Seconds to connect, and to read an answer."""
_PAGE = 500
"""Objects in one answer to a list."""
_OUTAGE = 20.0
"""Seconds for which an API server may be away before we give up."""
_SETTLE = 20.0
"""Seconds for a definition to be established, and for a deleted object to go."""

_IN_POD = "KUBERNETES_SERVICE_HOST"
"""The variable that every pod has."""
_KUBECONFIG_STEP = "point KUBECONFIG at a file that `kubectl get namespaces` works with"

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
        """
        from kubernetes import client  # noqa: PLC0415 - half a second, paid by those who need it
        from kubernetes.client import exceptions  # noqa: PLC0415

        configuration = client.Configuration()
        configuration.retries = False  # type: ignore[assignment] - urllib3 takes False for "none"; ours are below
        _load_config(configuration, context)
        self.host = str(configuration.host)
        self._configuration: Any = configuration
        self._api: Any = client.ApiClient(configuration)
        self._refusal: Any = exceptions.ApiException

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
            for attempt in stamina.retry_context(
                on=_Away, attempts=None, timeout=_OUTAGE, wait_initial=0.1, wait_max=2.0, wait_jitter=0.1
            ):
                with attempt:
                    return self._once(method, path, body, content)
        except _Away as error:
            raise Unreachable(
                f"Kubernetes at {self.host} does not answer: {error}",
                next_step="is the API server up, and is this the right KUBECONFIG?",
            ) from error
        raise AssertionError("a retry context ends by return or raise")

    def _once(self, method: str, path: str, body: Json | None, content: str) -> Json:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - comes with the library

        headers = {"Accept": "application/json", "Content-Type": content}
        headers |= {login["key"]: login["value"] for login in self._configuration.auth_settings().values()}
        try:
            answer = self._api.call_api(method, f"{self.host}/{path}", headers, body, _request_timeout=_REQUEST_TIMEOUT)
            data: bytes = answer.read()
        except self._refusal as error:
            if not error.status:  # how the library wraps a failed handshake
                raise self._silent(str(error.reason)) from error
            raise self._refused(error.status, error.body or b"", f"{method} {path.partition('?')[0]}") from error
        except (HTTPError, OSError) as error:
            raise self._silent(_brief(error)) from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._refused(answer.status, data, f"{method} {path.partition('?')[0]}")
        return json.loads(data or b"{}")

    def _silent(self, why: str) -> Exception:
        if "CERTIFICATE_VERIFY_FAILED" not in why:
            return _Away(why)
        return InvalidInput(
            f"Kubernetes at {self.host} shows a certificate that the kubeconfig's CA did not sign",
            next_step="get a fresh kubeconfig for this cluster",
        )

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


def _load_config(configuration: Configuration, context: str) -> None:
    """Find and read the kubeconfig as kubectl does.

    The library's own search remembers the KUBECONFIG of the moment it was imported, and prints to standard output.
    """
    from kubernetes import config  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415 - comes with the library

    files = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    try:
        if any(Path(file).is_file() for file in files.split(os.pathsep)):
            config.load_kube_config(files, context or None, configuration, persist_config=False)
        elif _IN_POD in os.environ:
            config.load_incluster_config(configuration)
        else:
            raise InvalidInput(f"there is no kubeconfig {files}", next_step=_KUBECONFIG_STEP)
    except (config.ConfigException, YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"the kubeconfig {files} is not usable: {error}", next_step=_KUBECONFIG_STEP) from error


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


def _brief(error: Exception) -> str:
    return str(getattr(error, "reason", error)).rpartition("object at")[2].partition(">: ")[2] or str(error)[:200]
