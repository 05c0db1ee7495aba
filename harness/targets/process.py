"""The process topology: the same server plan as on Kubernetes, with local processes in place of pods.

`fleet server install` finds it by FLEET_TOPOLOGY=process. It speaks to the supervisor of the world in
FLEET_PROCESS_ROOT, and raises only `FleetError`s, since it runs inside the product's command line.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import msgspec

from fleet.contract.errors import FleetError, InvalidInput, TimedOut, Unreachable
from fleet.kube.client import KubeClient, wait_for
from fleet.secrets.chosen import chosen_store
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import SecretStore
from fleet.topology.capabilities import (
    Applied,
    Endpoint,
    Endpoints,
    Json,
    PlaceRequest,
    Service,
    ServiceStatus,
)
from fleet.topology.place_options import PlaceOptions
from harness.binaries import NAMES, resolve
from harness.errors import HarnessError
from harness.processes.spawn import tail
from harness.processes.spec import ComponentSpec, ask, put, remove, specs, statuses, unready, write_atomic
from harness.targets.control_plane import render_kubeconfig
from harness.world import folders

_READY_WITHIN = 30.0
_GONE_WITHIN = 20.0
_TOKEN_LIFETIME = 7 * 24 * 3600
"""Seconds, like the world's certificates: nothing renews it."""
_HOST = "127.0.0.1"
_WITH_WEB = "web"
"""What a place with a web page remembers."""
_NOT_OURS = ("nats",)
"""Services of the plan that are not the product: their death is the world's."""


class _Pool(msgspec.Struct):
    """`ports.json`: the ports that the world set aside, and which service got which."""

    free: list[int]
    given: dict[str, int]


class ProcessTopology:
    """Satisfies `fleet.topology.capabilities.ServerPlace`."""

    def __init__(self, root: Path, kube: KubeClient, secrets: SecretStore, *, web: bool) -> None:
        """Attach to the world in `root`, `web` with a web page."""
        self._web = web
        self._root = root
        self._kube = kube
        self._namespace = ""
        self.secrets = secrets

    @classmethod
    def attach(cls, environ: Mapping[str, str], request: PlaceRequest) -> ProcessTopology:
        """The topology of the world that FLEET_PROCESS_ROOT names; the API server is the one that KUBECONFIG names.

        Raises:
            InvalidInput: the variable is missing, there is no world, or what is asked for needs Kubernetes.
        """
        if request.options not in (PlaceOptions(), PlaceOptions(web=True)):
            raise InvalidInput(
                "FLEET_TOPOLOGY=process runs processes, which have no image, exposure or storage",
                next_step="leave the options of Kubernetes away, or unset FLEET_TOPOLOGY",
            )
        root = Path(environ.get("FLEET_PROCESS_ROOT", ""))
        if not root.is_absolute() or not (root / "ports.json").is_file():
            raise InvalidInput(
                f"FLEET_TOPOLOGY=process, but FLEET_PROCESS_ROOT={root} is not the folder of a world",
                next_step="unset FLEET_TOPOLOGY to install on Kubernetes",
            )
        kube = KubeClient()
        secrets = chosen_store(environ, kube, request.namespace, FileSecretStore(root / "secrets"))
        return cls(root, kube, secrets, web=request.options.web or request.remembered == _WITH_WEB)

    @property
    def remembered(self) -> str:
        """As `RemembersOptions.remembered`."""
        return _WITH_WEB if self._web else ""

    def apply(self, objects: Sequence[Json]) -> list[Applied]:
        """As `AppliesObjects.apply`."""
        for meta in (item["metadata"] for item in objects if item["kind"] == "ServiceAccount"):
            self._namespace = meta["namespace"]
        return self._kube.apply(objects)

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """As `AppliesObjects.find`."""
        return self._kube.find(kind, name, namespace)

    def delete(self, objects: Sequence[Json]) -> list[Applied]:
        """As `AppliesObjects.delete`; finalizes namespaces, for there is no controller-manager that would."""
        done: list[Applied] = []
        for item in objects:
            done += self._kube.delete([item])
            kind, meta = item["kind"], item["metadata"]
            name, namespace = meta["name"], meta.get("namespace", "")
            if kind == "Namespace" and (left := self.find(kind, name)) is not None:
                left["spec"]["finalizers"] = []
                self._kube.request("PUT", f"api/v1/namespaces/{name}/finalize", left)
            wait_for(
                lambda kind=kind, name=name, namespace=namespace: self.find(kind, name, namespace) is None or None,
                f"{kind} {name} to be gone",
                _GONE_WITHIN,
            )
        return done

    def endpoints(self, namespace: str) -> Endpoints:
        """As `RunsServices.endpoints`; the operator's kubeconfig is written by `run`."""
        del namespace
        port = self._ports("nats", "nats-monitor", "callout-health", "operator-health")
        web = self._ports("operator-web")["operator-web"] if self._web else 0
        nats = Endpoint("localhost", port["nats"])
        return Endpoints(
            listen_host=_HOST,
            nats=nats,
            nats_public=nats,
            nats_monitor=port["nats-monitor"],
            nats_log_file=str(self._root / "logs" / "nats.log"),
            callout_health=port["callout-health"],
            operator_health=port["operator-health"],
            operator_kubeconfig=str(self._operator_kubeconfig),
            operator_web=web,
            web_url=f"https://localhost:{web}" if web else "",
        )

    def run(self, services: Sequence[Service]) -> list[Applied]:
        """As `RunsServices.run`."""
        with _as_fleet_errors():
            before = specs(self._root)
            specs_of_services = [self._spec(service) for service in services]
            self._grant_operator(services)
            for spec in specs_of_services:
                put(self._root, spec)
            ask(self._root, "reconcile")
            self._await_ready([spec.name for spec in specs_of_services])
        return [Applied(f"Service {spec.name}", before.get(spec.name) != spec) for spec in specs_of_services]

    def renew(self, services: Sequence[Service]) -> list[Applied]:
        """As `RunsServices.renew`."""
        return self.run(services)

    def services(self) -> list[ServiceStatus]:
        """As `RunsServices.services`."""
        with _as_fleet_errors():
            names = sorted(path.name for path in (self._root / "services").glob("*") if path.name in specs(self._root))
            missing = unready(statuses(self._root), names)
        return [ServiceStatus(name, name not in missing, missing.get(name, "")) for name in names]

    def stop(self, names: Sequence[str], *, delete_data: bool) -> list[Applied]:
        """As `RunsServices.stop`."""
        with _as_fleet_errors():
            # Names of the plan may be those of the world's own components, which are not ours to end.
            known = {name for name in specs(self._root) if (self._root / "services" / name).is_dir()}
            for name in known & set(names):
                remove(self._root, name)
            ask(self._root, "reconcile")
        for name in names:
            shutil.rmtree(self._files(name), ignore_errors=True)
            if delete_data:
                shutil.rmtree(self._root / "services" / name, ignore_errors=True)
        return [Applied(f"Service {name}", name in known) for name in names]

    @property
    def _operator_kubeconfig(self) -> Path:
        # Beside the operator's own files, so that it goes with them: a new account makes an old token worthless.
        return self._files("operator") / "kubeconfig"

    def _files(self, name: str) -> Path:
        return self._root / "services" / name / "files"

    def _ports(self, *names: str) -> dict[str, int]:
        """The port of each name: the same at every call, from those that the world set aside."""
        path = self._root / "ports.json"
        pool = msgspec.json.decode(path.read_bytes(), type=_Pool)
        for name in names:
            if name not in pool.given:
                pool.given[name] = pool.free.pop(0)
        write_atomic(path, msgspec.json.encode(pool))
        return pool.given

    def _spec(self, service: Service) -> ComponentSpec:
        """Write the service's files, and say how to run it; other files make it another specification."""
        if service.replicas != 1:
            raise InvalidInput(
                f"{service.name} is to run {service.replicas} times, but this place gives it one port",
                next_step="install on Kubernetes to run replicas",
            )
        folder, data = self._files(service.name), self._root / "services" / service.name / "data"
        data.mkdir(parents=True, exist_ok=True, mode=0o700)

        def filled(text: bytes) -> bytes:
            return text.replace(b"{files}", str(folder).encode()).replace(b"{data}", str(data).encode())

        env = {name: filled(value.encode()).decode() for name, value in service.env.items()}
        digest = hashlib.sha256()
        for name, content in service.files.items():
            write_atomic(folder / name, filled(content))
            digest.update(f"{name}\0".encode() + content)
        return ComponentSpec(
            name=service.name,
            argv=(_program(service.program), *(filled(arg.encode()).decode() for arg in service.args)),
            side="world" if service.name in _NOT_OURS else "product",
            env={**env, "FLEET_FILES_DIGEST": digest.hexdigest()[:16]},
            ready=f"http://{_HOST}:{service.health_port}{service.ready}",
        )

    def _grant_operator(self, services: Sequence[Service]) -> None:
        """The operator logs in as its own ServiceAccount, so that its RBAC is real; once, since nothing renews it."""
        path = self._operator_kubeconfig
        account = next((service.account for service in services if service.account), "")
        if account and not path.exists():
            token = self._kube.token(account, self._namespace, seconds=_TOKEN_LIFETIME)
            write_atomic(path, render_kubeconfig(self._kube.host, self._root / "tls" / "ca.crt", token))

    def _await_ready(self, names: Sequence[str]) -> None:
        try:
            wait_for(
                lambda: None if unready(statuses(self._root), names) else names,
                f"{', '.join(names)} to be ready",
                _READY_WITHIN,
                interval=0.02,
            )
        except TimedOut as error:
            missing = unready(statuses(self._root), names)
            states = "\n".join(
                f"  {name}: {why}\n{tail(self._root / 'logs' / f'{name}.log')}" for name, why in missing.items()
            )
            raise TimedOut(f"{error.what}\n{states}", next_step=f"see {folders.logs_to_read(self._root)}") from error


@contextlib.contextmanager
def _as_fleet_errors() -> Generator[None]:
    try:
        yield
    except HarnessError as error:
        raise Unreachable(error.what, next_step=error.next_step) from error


def _program(name: str) -> str:
    if name in NAMES:
        try:
            return str(resolve(name))
        except HarnessError as error:
            raise FleetError(error.what, next_step=error.next_step) from error
    beside_us = Path(sys.executable).parent / name
    return str(beside_us) if beside_us.exists() else name
