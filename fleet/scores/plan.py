"""What a fleet server consists of: one pure plan, applied by every topology in its own way."""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.buckets import CALLOUT_USER
from fleet.contract.config import CalloutConfig, OperatorConfig, render_config
from fleet.contract.crd import deployment_crd, device_crd
from fleet.contract.objects import SERVER_CONFIG_MAP, ServerInfo
from fleet.contract.wire import encode
from fleet.scores.nats import NatsCluster, NatsServer, nats_config
from fleet.scores.rbac import OPERATOR, operator_rbac
from fleet.scores.secrets import ServerSecrets
from fleet.topology.capabilities import Endpoints, Service
from fleet.version import VERSION

Json = dict[str, Any]

SERVER_INFO_KEY = "server.json"
RELEASE = "fleet.nationtech.io/release"
"""The annotation of a definition that says which release of ours wrote it."""
_LABELS = {"app.kubernetes.io/part-of": "fleet", "app.kubernetes.io/managed-by": "fleet"}


class ServerSettings(msgspec.Struct, frozen=True):
    """What an install was told or found out. `issuer_ca` is PEM; empty where the public authorities are trusted."""

    namespace: str
    issuer: str
    issuer_ca: str
    project_id: str
    cli_client_id: str
    version: str


class ServerPlan(msgspec.Struct, frozen=True):
    """`objects` come first, then `services`, and `announcement` last: where it is, a server is installed."""

    objects: tuple[Json, ...]
    services: tuple[Service, ...]
    announcement: Json


def server_plan(settings: ServerSettings, secrets: ServerSecrets, endpoints: Endpoints) -> ServerPlan:
    """The whole plan of a server."""
    trusted = secrets.authority + settings.issuer_ca
    return ServerPlan(
        objects=server_objects(settings.namespace),
        services=(
            _nats(secrets, endpoints),
            _callout(settings, secrets, endpoints, trusted),
            _operator(settings, secrets, endpoints),
        ),
        announcement=_announcement(settings, endpoints, trusted, secrets.server_id),
    )


def server_objects(namespace: str) -> tuple[Json, ...]:
    """The Kubernetes objects that every place needs, in the order in which they depend on each other."""
    labels = _LABELS | {"pod-security.kubernetes.io/enforce": "restricted"}
    home: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    return (home, _released(device_crd()), _released(deployment_crd()), *operator_rbac(namespace))


def _released(definition: Json) -> Json:
    """The definition, with the release that it belongs to: an earlier one leaves a later one's alone."""
    meta: Json = definition["metadata"]
    return {**definition, "metadata": {**meta, "annotations": {RELEASE: VERSION}}}


def _nats(secrets: ServerSecrets, endpoints: Endpoints) -> Service:
    config = nats_config(
        NatsServer(
            name="fleet-nats",
            host=endpoints.listen_host,
            port=endpoints.nats.port,
            monitor_port=endpoints.nats_monitor,
            tls_cert_file="{files}/tls.crt",
            tls_key_file="{files}/tls.key",
            store_dir="{data}",
            passwords=secrets.passwords,
            issuer=secrets.issuer,
            xkey=secrets.xkey,
            cluster=_routes(secrets, endpoints),
            tls_first=endpoints.nats_tls_first,
        )
    )
    files = {"nats.json": config.encode(), "tls.crt": secrets.nats_certificate, "tls.key": secrets.nats_key}
    ports = {"nats": endpoints.nats.port, "monitor": endpoints.nats_monitor}
    args: tuple[str, ...] = ("--config", "{files}/nats.json")
    if secrets.routes:
        files |= {"routes.crt": secrets.routes.certificate, "ca.crt": secrets.authority.encode()}
        ports["routes"] = endpoints.nats_peers[0].port
        args += ("--name", "{instance}")
    return Service(
        name="nats",
        program="nats-server",
        args=args,
        files=files,
        ports=ports,
        health_port=endpoints.nats_monitor,
        ready="/healthz",
        replicas=max(1, len(endpoints.nats_peers)),
        public=endpoints.nats_public,
        # Streams that have no leader make it unready, and no restart would give them one.
        alive="/healthz?js-enabled-only=true",
    )


def _routes(secrets: ServerSecrets, endpoints: Endpoints) -> NatsCluster | None:
    if secrets.routes is None:
        return None
    return NatsCluster(
        host=endpoints.listen_host,
        port=endpoints.nats_peers[0].port,
        routes=tuple(str(peer) for peer in endpoints.nats_peers),
        password=secrets.routes.password,
        tls_cert_file="{files}/routes.crt",
        tls_key_file="{files}/tls.key",
        tls_ca_file="{files}/ca.crt",
    )


def _callout(settings: ServerSettings, secrets: ServerSecrets, endpoints: Endpoints, trusted: str) -> Service:
    config = CalloutConfig(
        nats_url=f"tls://{endpoints.nats}",
        nats_user=CALLOUT_USER,
        nats_auth_pass=secrets.passwords.callout,
        ca=trusted,
        issuer=settings.issuer,
        project_id=settings.project_id,
        issuer_seed=secrets.issuer_seed,
        xkey_seed=secrets.xkey_seed,
        health_host=endpoints.listen_host,
        health_port=endpoints.callout_health,
    )
    return _ours("callout", endpoints.callout_health, render_config(config), replicas=endpoints.callout_replicas)


def _operator(settings: ServerSettings, secrets: ServerSecrets, endpoints: Endpoints) -> Service:
    config = OperatorConfig(
        nats_url=f"tls://{endpoints.nats}",
        nats_app_pass=secrets.passwords.app,
        nats_control_pass=secrets.passwords.control,
        nats_system_pass=secrets.passwords.system,
        ca=secrets.authority,
        namespace=settings.namespace,
        kubeconfig=endpoints.operator_kubeconfig,
        health_host=endpoints.listen_host,
        health_port=endpoints.operator_health,
        stream_replicas=max(1, len(endpoints.nats_peers)),
    )
    return _ours("operator", endpoints.operator_health, render_config(config), account=OPERATOR)


def _ours(name: str, port: int, config: bytes, *, replicas: int = 1, account: str = "") -> Service:
    return Service(
        name=name,
        program=f"fleet-{name}",
        args=("--config", f"{{files}}/{name}.json"),
        files={f"{name}.json": config},
        ports={"health": port},
        health_port=port,
        ready="/readyz",
        replicas=replicas,
        account=account,
    )


def _announcement(settings: ServerSettings, endpoints: Endpoints, trusted: str, server_id: str) -> Json:
    info = ServerInfo(
        issuer=settings.issuer,
        project_id=settings.project_id,
        cli_client_id=settings.cli_client_id,
        nats_url=f"{'tls+first' if endpoints.nats_tls_first else 'tls'}://{endpoints.nats_public}",
        ca=trusted,
        version=settings.version,
        server_id=server_id,
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": SERVER_CONFIG_MAP, "namespace": settings.namespace, "labels": _LABELS},
        "data": {SERVER_INFO_KEY: encode(info).decode()},
    }
