"""A look at Kubernetes: our two kinds typed by the contract, everything else as plain JSON.

The official client logs in and sends; its models are left out, since they are slow, and stricter than API servers are.
Only this module of the harness imports it.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from kubernetes import config
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError
from urllib3.util import Retry
from yaml import YAMLError

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
from fleet.contract.wire import Container, decode
from harness.errors import HarnessError, Unanswered

Json = dict[str, Any]
K = TypeVar("K", Device, FleetDeployment)

_DEADLINE = 5
"""Seconds of a call."""
_NEXT = "is kube-apiserver up? world.problems() tells"


class _List(msgspec.Struct):
    items: list[msgspec.Raw]


class KubeProbe:
    """Reads, and now and then writes as an admin with kubectl would. Every call has a deadline."""

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
        announcement = self._announcement()
        return decode(announcement["data"]["server.json"].encode(), ServerInfo) if announcement else None

    def servers(self) -> list[str]:
        """The namespaces of the whole cluster that have a fleet server."""
        config_maps = self.get(f"/api/v1/configmaps?fieldSelector=metadata.name={SERVER_CONFIG_MAP}") or {}
        return [item["metadata"]["namespace"] for item in config_maps.get("items", [])]

    def installation(self) -> str:
        """Another one after every installation of a server; empty when none is installed."""
        announcement = self._announcement()
        return announcement["metadata"]["uid"] if announcement else ""

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
        answer = self._request("GET", path)
        return None if answer is None else msgspec.json.decode(answer)

    def text(self, path: str) -> str | None:
        """What is not JSON, such as a page of a pod by way of the API server; as `get` for the rest."""
        answer = self._request("GET", path)
        return None if answer is None else answer.decode()

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
        answer = self._request("GET", self.path(plural, name))
        return None if answer is None else _typed(answer, kind)

    def _objects(self, plural: str, kind: type[K]) -> list[K]:
        answer = self._request("GET", self.path(plural))
        if answer is None:
            return []
        return [_typed(bytes(item), kind) for item in msgspec.json.decode(answer, type=_List).items]

    def _request(self, method: str, path: str, body: Json | None = None) -> bytes | None:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        parameters = self._client.param_serialize(
            method, path, header_params={"Content-Type": kind}, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = self._client.call_api(*parameters, _request_timeout=_DEADLINE)
            data = cast("bytes", answer.read())
        except (HTTPError, OSError, ApiException) as error:
            raise Unanswered(f"{method} {path}: {type(error).__name__}: {error}", next_step=_NEXT) from error
        if answer.status == 404:
            return None
        text = data.decode(errors="replace")[:300]
        if answer.status in {429, 500, 502, 503, 504}:
            raise Unanswered(f"{method} {path}: {answer.status} {text}", next_step=_NEXT)
        if answer.status >= 400:
            raise HarnessError(f"{method} {path}: {answer.status} {text}", next_step="see the words of the server")
        return data


def _typed(data: bytes, kind: type[K]) -> K:
    """An object that the API server accepted but the contract does not is the product's failure."""
    try:
        return decode(data, kind)
    except InvalidInput as error:
        raise AssertionError(f"the API server holds a {kind.__name__} outside the contract: {error.what}") from error


def _client(kubeconfig: Path) -> ApiClient:
    settings = Configuration()
    settings.retries = Retry(False)
    try:
        config.load_kube_config(str(kubeconfig), client_configuration=settings, persist_config=False)
    except (config.ConfigException, OSError, KeyError, ValueError, AttributeError, YAMLError) as error:
        raise HarnessError(
            f"cannot use the kubeconfig {kubeconfig}: {type(error).__name__} {error}",
            next_step="kubectl config view --minify --flatten shows what it needs: a server, a CA, a token",
        ) from error
    settings.proxy = None  # a world of this machine is never behind one
    return ApiClient(settings)


def container_of(deployment: FleetDeployment) -> Container:
    """The container of a deployment that has one.

    Raises:
        AssertionError: it is a pod.
    """
    workload = deployment.spec.workload
    assert isinstance(workload, Container), f"{deployment.metadata.name} is a pod"
    return workload
