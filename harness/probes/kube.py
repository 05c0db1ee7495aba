"""A look at Kubernetes over its REST API: our two kinds typed by the contract, everything else as plain JSON."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import (
    API_VERSION,
    DEPLOYMENTS,
    DEVICES,
    GROUP,
    SERVER_CONFIG_MAP,
    Device,
    FleetDeployment,
    ServerInfo,
)
from fleet.contract.wire import decode
from harness.errors import HarnessError, Unanswered

Json = dict[str, Any]
K = TypeVar("K", Device, FleetDeployment)

_NEXT = "is kube-apiserver up? world.problems() tells"


class _List(msgspec.Struct):
    items: list[msgspec.Raw]


class KubeProbe:
    """Reads, and now and then writes as an admin with kubectl would. Every call has a deadline of 5 s."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        """Log in as the kubeconfig's current context says (token or client certificate).

        Raises:
            HarnessError: the file cannot be used.
        """
        self.namespace = namespace
        self._client = _client(kubeconfig)

    def device(self, name: str) -> Device | None:
        """One device; None when there is none of that name."""
        return self._object(DEVICES, name, Device)

    def devices(self) -> list[Device]:
        """Every device of the namespace."""
        return self._objects(DEVICES, Device)

    def deployment(self, name: str) -> FleetDeployment | None:
        """One deployment; None when there is none of that name."""
        return self._object(DEPLOYMENTS, name, FleetDeployment)

    def deployments(self) -> list[FleetDeployment]:
        """Every deployment of the namespace."""
        return self._objects(DEPLOYMENTS, FleetDeployment)

    def server(self) -> ServerInfo | None:
        """What an installed server says of itself; None when none is installed."""
        found = self._announcement()
        return decode(found["data"]["server.json"].encode(), ServerInfo) if found else None

    def servers(self) -> list[str]:
        """The namespaces of the whole cluster that have a fleet server."""
        found = self.get(f"/api/v1/configmaps?fieldSelector=metadata.name={SERVER_CONFIG_MAP}") or {}
        return [item["metadata"]["namespace"] for item in found.get("items", [])]

    def installation(self) -> str:
        """Another one after every installation of a server; empty when none is installed."""
        found = self._announcement()
        return found["metadata"]["uid"] if found else ""

    def _announcement(self) -> Json | None:
        return self.get(f"/api/v1/namespaces/{self.namespace}/configmaps/{SERVER_CONFIG_MAP}")

    def secret(self, name: str, key: str) -> str | None:
        """One value of a Secret, decoded."""
        found = self.get(f"/api/v1/namespaces/{self.namespace}/secrets/{name}")
        value = (found or {}).get("data", {}).get(key)
        return base64.b64decode(value).decode() if value else None

    def events(self) -> list[Json]:
        """Every event of the namespace, raw: newer servers leave fields empty that typed clients insist on."""
        return (self.get(f"/api/v1/namespaces/{self.namespace}/events") or {}).get("items", [])

    def definition(self, plural: str) -> Json | None:
        """The definition of one of our kinds; None when the cluster does not know it."""
        return self.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{GROUP}")

    def get(self, path: str) -> Json | None:
        """Any object by its path below the server's URL; None for 404.

        Raises:
            Unanswered: the server does not answer, or is not ready to.
            HarnessError: it refused.
        """
        found = self._request("GET", path)
        return None if found is None else found.json()

    def text(self, path: str) -> str | None:
        """What is not JSON, such as a page of a pod by way of the API server; as `get` for the rest."""
        found = self._request("GET", path)
        return None if found is None else found.text

    def patch(self, path: str, merge: Json) -> None:
        """Change an object by a JSON merge patch (RFC 7386); as `get` for errors."""
        if self._request("PATCH", path, merge) is None:
            raise HarnessError(f"there is no {path} to patch", next_step="create it first")

    def create(self, path: str, value: Json) -> None:
        """Create an object in the collection at `path`; as `get` for errors."""
        self._request("POST", path, value)

    def delete(self, path: str) -> None:
        """Delete an object; none is fine; as `get` for errors."""
        self._request("DELETE", path)

    def path(self, plural: str, name: str = "") -> str:
        """The path of one of our kinds, or of one object of it."""
        return f"/apis/{API_VERSION}/namespaces/{self.namespace}/{plural}/{name}".rstrip("/")

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _object(self, plural: str, name: str, kind: type[K]) -> K | None:
        found = self._request("GET", self.path(plural, name))
        return None if found is None else _typed(found.content, kind)

    def _objects(self, plural: str, kind: type[K]) -> list[K]:
        found = self._request("GET", self.path(plural))
        if found is None:
            return []
        return [_typed(bytes(item), kind) for item in msgspec.json.decode(found.content, type=_List).items]

    def _request(self, method: str, path: str, body: Json | None = None) -> httpx.Response | None:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = self._client.request(method, path, content=content, headers={"Content-Type": kind})
        except httpx.HTTPError as error:
            raise Unanswered(f"{method} {path}: {type(error).__name__}: {error}", next_step=_NEXT) from error
        if answer.status_code == 404:
            return None
        if answer.status_code in {429, 500, 502, 503, 504}:
            raise Unanswered(f"{method} {path}: {answer.status_code} {answer.text[:300]}", next_step=_NEXT)
        if answer.is_error:
            raise HarnessError(
                f"{method} {path}: {answer.status_code} {answer.text[:300]}", next_step="see the words of the server"
            )
        return answer


def _typed(data: bytes, kind: type[K]) -> K:
    """An object that the API server accepted but the contract does not is the product's failure."""
    try:
        return decode(data, kind)
    except InvalidInput as error:
        raise AssertionError(f"the API server holds a {kind.__name__} outside the contract: {error.what}") from error


def _client(kubeconfig: Path) -> httpx.Client:
    try:
        config: Json = _load(kubeconfig)
        contexts = {entry["name"]: entry["context"] for entry in config["contexts"]}
        chosen = contexts[config["current-context"]]
        cluster: Json = next(entry["cluster"] for entry in config["clusters"] if entry["name"] == chosen["cluster"])
        user: Json = next(entry["user"] for entry in config["users"] if entry["name"] == chosen["user"])
        trust = ssl.create_default_context(
            cafile=cluster.get("certificate-authority"), cadata=_embedded(cluster, "certificate-authority-data")
        )
        if "client-certificate" in user:
            trust.load_cert_chain(user["client-certificate"], user["client-key"])
    except (OSError, KeyError, StopIteration, ValueError) as error:
        raise HarnessError(
            f"cannot use the kubeconfig {kubeconfig}: {type(error).__name__} {error}",
            next_step="kubectl config view --minify --flatten shows what it needs: a server, a CA, a token",
        ) from error
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return httpx.Client(base_url=cluster["server"], verify=trust, headers=headers, timeout=5, trust_env=False)


def _load(kubeconfig: Path) -> Json:
    data = kubeconfig.read_bytes()
    if data.lstrip().startswith(b"{"):
        return msgspec.json.decode(data)
    return msgspec.yaml.decode(data)


def _embedded(cluster: Json, key: str) -> str | None:
    return base64.b64decode(cluster[key]).decode() if key in cluster else None
