"""What a fleet server consists of: one pure plan, applied by every topology in its own way."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from fleet.contract.announcement import INSTALL_KEY, SERVER_INFO_KEY
from fleet.contract.buckets import CALLOUT_USER, WEB_USER
from fleet.contract.certificates import certificate_id
from fleet.contract.config import CalloutConfig, OperatorConfig, SecretAge, UpgradeRules, WebPage, render_config
from fleet.contract.crd import deployment_crd, device_crd
from fleet.contract.logs import LOG_READER_KEY, LOG_READER_SECRET
from fleet.contract.objects import SERVER_CONFIG_MAP, ServerInfo
from fleet.contract.versions import digest_of, user_of
from fleet.contract.wire import encode
from fleet.install.nats import MEMORY, NatsServer, nats_config
from fleet.install.rbac import CAPABILITIES, FOR_WEB, OPERATOR, operator_rbac, web_rbac
from fleet.install.routes import NatsCluster
from fleet.install.secrets import ServerSecrets
from fleet.topology.capabilities import Endpoints, Service
from fleet.version import VERSION

Json = dict[str, Any]

RELEASE = "fleet.nationtech.io/release"
"""The annotation of a definition that says which release of ours wrote it."""
_LABELS = {"app.kubernetes.io/part-of": "fleet", "app.kubernetes.io/managed-by": "fleet"}


class ServerSettings(msgspec.Struct, frozen=True):
    """The settings of an install, given or found. `issuer_ca` is PEM; empty where the public authorities are trusted.

    `web_client_id` is of an application of the identity provider by which people sign in to the web page; empty where
    they do it by device code only. With `bundled_identity` the place runs the provider as well.
    """

    namespace: str
    issuer: str
    issuer_ca: str
    project_id: str
    cli_client_id: str
    version: str
    upgrade: UpgradeRules = UpgradeRules()
    web_client_id: str = ""
    bundled_identity: bool = False


class Install(msgspec.Struct, frozen=True):
    """What a later command needs to repeat an install: its settings, and the options of its place as it wrote them."""

    settings: ServerSettings
    place: str


class ServerPlan(msgspec.Struct, frozen=True):
    """`objects` come first, then `services`, `log_reader` and `announcement`: where that is, a server is installed."""

    objects: tuple[Json, ...]
    services: tuple[Service, ...]
    log_reader: Json
    announcement: Json

    @property
    def published(self) -> tuple[Json, ...]:
        """What others read of a server that runs, in the order in which it is written."""
        return (self.log_reader, self.announcement)


def server_plan(
    settings: ServerSettings,
    secrets: ServerSecrets,
    endpoints: Endpoints,
    place: str = "",
    more: Sequence[SecretAge] = (),
) -> ServerPlan:
    """The whole plan of a server; `place` has the options of its place, for later commands.

    `more` are the ages of secrets that are not the server's own, for its metrics.
    """
    trusted = secrets.bundle + settings.issuer_ca
    return ServerPlan(
        objects=server_objects(settings.namespace, web=bool(endpoints.operator_web)),
        services=(
            _nats(secrets, endpoints),
            _callout(settings, secrets, endpoints, trusted),
            _operator(settings, secrets, endpoints, trusted, (*_ages(secrets), *more)),
        ),
        log_reader=_log_reader(settings.namespace, secrets.passwords.log_reader),
        announcement=_announcement(Install(settings, place), endpoints, trusted, secrets.server_id),
    )


def server_objects(namespace: str, *, web: bool = False) -> tuple[Json, ...]:
    """The Kubernetes objects that every place needs, in the order in which they depend on each other.

    Those of the web page come last, where there is to be one.
    """
    labels = _LABELS | {"pod-security.kubernetes.io/enforce": "restricted"}
    home: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    capabilities = (*CAPABILITIES, FOR_WEB) if web else CAPABILITIES
    accounts = (*operator_rbac(namespace, capabilities), *(web_rbac(namespace) if web else ()))
    return (home, _released(device_crd()), _released(deployment_crd()), *accounts)


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
            tls_key_id=digest_of(secrets.nats_key),
            authority_id=certificate_id(secrets.authority),
            cluster=_routes(secrets, endpoints),
            tls_first=endpoints.nats_tls_first,
            log_file=endpoints.nats_log_file,
        )
    )
    files = {"nats.json": config.encode(), "tls.crt": secrets.nats_certificate, "tls.key": secrets.nats_key}
    ports = {"nats": endpoints.nats.port}
    args: tuple[str, ...] = ("--config", "{files}/nats.json")
    if secrets.routes:
        files |= {"routes.crt": secrets.routes.certificate, "ca.crt": secrets.bundle.encode()}
        ports["routes"] = endpoints.nats_peers[0].port
        args += ("--name", "{instance}")
    return Service(
        name="nats",
        program="nats-server",
        args=args,
        files=files,
        ports=ports,
        health_port=endpoints.nats_monitor,
        health_inside=True,
        ready="/healthz",
        replicas=max(1, len(endpoints.nats_peers)),
        public=endpoints.nats_public,
        env={"GOMEMLIMIT": MEMORY},
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
        sent=secrets.routes.password,
        accepted=secrets.routes.accepted,
        tls_cert_file="{files}/routes.crt",
        tls_key_file="{files}/tls.key",
        tls_ca_file="{files}/ca.crt",
    )


def _callout(settings: ServerSettings, secrets: ServerSecrets, endpoints: Endpoints, trusted: str) -> Service:
    config = CalloutConfig(
        nats_url=f"tls://{endpoints.nats}",
        nats_user=user_of(CALLOUT_USER, secrets.passwords.callout),
        nats_auth_pass=secrets.passwords.callout,
        ca=trusted,
        issuer=settings.issuer,
        project_id=settings.project_id,
        issuer_seed=secrets.honoured_issuer_seeds[0],
        xkey_seed=secrets.honoured_xkey_seeds[0],
        other_issuer_seeds=secrets.honoured_issuer_seeds[1:],
        other_xkey_seeds=secrets.honoured_xkey_seeds[1:],
        health_host=endpoints.listen_host,
        health_port=endpoints.callout_health,
    )
    return _ours("callout", endpoints.callout_health, render_config(config), replicas=endpoints.callout_replicas)


def _operator(
    settings: ServerSettings, secrets: ServerSecrets, endpoints: Endpoints, trusted: str, ages: tuple[SecretAge, ...]
) -> Service:
    config = OperatorConfig(
        nats_url=f"tls://{endpoints.nats}",
        nats_app_pass=secrets.passwords.app,
        nats_control_pass=secrets.passwords.control,
        nats_system_pass=secrets.passwords.system,
        ca=secrets.bundle,
        namespace=settings.namespace,
        kubeconfig=endpoints.operator_kubeconfig,
        health_host=endpoints.listen_host,
        health_port=endpoints.operator_health,
        stream_replicas=max(1, len(endpoints.nats_peers)),
        callouts=endpoints.callout_replicas,
        upgrade=settings.upgrade,
        trust_bundle=trusted,
        secret_ages=ages,
        web=_web(settings, secrets, endpoints, trusted),
    )
    service = _ours("operator", endpoints.operator_health, render_config(config), account=OPERATOR)
    if not endpoints.operator_web:
        return service
    return msgspec.structs.replace(service, ports={**service.ports, "web": endpoints.operator_web})


def _ages(secrets: ServerSecrets) -> tuple[SecretAge, ...]:
    ending = secrets.ending
    ages = ((name, made, ending.get(name)) for name, made in secrets.made.items())
    return tuple(SecretAge(name, made, int(end.timestamp()) if end else 0) for name, made, end in ages)


def _web(settings: ServerSettings, secrets: ServerSecrets, endpoints: Endpoints, trusted: str) -> WebPage | None:
    if secrets.web is None:
        return None
    return WebPage(
        host=endpoints.listen_host,
        port=endpoints.operator_web,
        certificate=secrets.web.certificate.decode(),
        key=secrets.web.key.decode(),
        nats_user=user_of(WEB_USER, secrets.passwords.web),
        nats_pass=secrets.passwords.web,
        issuer=settings.issuer,
        issuer_ca=trusted,
        project_id=settings.project_id,
        cli_client_id=settings.cli_client_id,
        client_id=settings.web_client_id,
    )


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


def _log_reader(namespace: str, password: str) -> Json:
    """The password for reading logs, where it can be granted without any other secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": LOG_READER_SECRET, "namespace": namespace, "labels": _LABELS},
        "data": {LOG_READER_KEY: base64.b64encode(password.encode()).decode()},
    }


def _announcement(install: Install, endpoints: Endpoints, trusted: str, server_id: str) -> Json:
    settings = install.settings
    info = ServerInfo(
        issuer=settings.issuer,
        project_id=settings.project_id,
        cli_client_id=settings.cli_client_id,
        nats_url=f"{'tls+first' if endpoints.nats_tls_first else 'tls'}://{endpoints.nats_public}",
        ca=trusted,
        version=settings.version,
        server_id=server_id,
        web=bool(endpoints.operator_web),
        web_url=endpoints.web_url,
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": SERVER_CONFIG_MAP, "namespace": settings.namespace, "labels": _LABELS},
        "data": {SERVER_INFO_KEY: encode(info).decode(), INSTALL_KEY: encode(install).decode()},
    }
