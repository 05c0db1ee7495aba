"""The operator as a process of its own, with its own ServiceAccount, on a real API server and a real nats-server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fleet.contract.buckets import APP_USER, CONTROL_USER, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE
from fleet.contract.config import OperatorConfig, WebPage, render_config
from fleet.contract.crd import deployment_crd, device_crd
from fleet.contract.names import AgentVersion
from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES
from fleet.contract.states import DeviceStates, entry
from fleet.contract.wire import DeviceInfo, DeviceState, Heartbeat, Phase, Reason
from fleet.install.rbac import CAPABILITIES, OPERATOR, Capability, operator_rbac
from harness.probes.nats import NatsLogin, NatsProbe
from harness.processes.ports import free_port
from harness.processes.spawn import spawn, tail, terminate
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.nats import PASSWORDS, Nats

Json = dict[str, Any]
T = TypeVar("T")

INFO = DeviceInfo(AgentVersion("v0.1.0"), "aarch64", "Debian GNU/Linux 12", "6.1.0", 4 << 30, 32 << 30, "boot-1")


@dataclass
class Operator:
    """One operator of one namespace. Starts and is killed as often as a test likes."""

    kube: Kube
    nats: Nats
    root: Path
    namespace: str
    resync: float = 30
    web: WebPage | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.grant(CAPABILITIES)
        token = self.kube.kubectl("-n", self.namespace, "create", "token", OPERATOR).strip()
        config = OperatorConfig(
            nats_url=self.nats.url,
            nats_app_pass=PASSWORDS.app,
            nats_control_pass=PASSWORDS.control,
            nats_system_pass=PASSWORDS.system,
            ca=self.nats.tls.ca,
            namespace=self.namespace,
            kubeconfig=str(self.kube.with_token(token)),
            health_port=self.port,
            resync_interval=self.resync,
            web=self.web,
        )
        self.config = self.root / "operator.json"
        self.config.write_bytes(render_config(config))
        self.config.chmod(0o600)
        self.objects = self.kube.probe(self.namespace)
        self.keys = self._keys(APP_USER, PASSWORDS.app)
        self.registry = self._keys(CONTROL_USER, PASSWORDS.control)

    def grant(self, capabilities: Sequence[Capability]) -> None:
        """Let the operator have exactly these."""
        objects = operator_rbac(self.namespace, tuple(capabilities))
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kube.kubectl("apply", "--server-side", "--field-manager=fleet", "-f", "-", stdin=json.dumps(listed))

    def start(self) -> None:
        """Begin; ready or not."""
        argv = [sys.executable, "-W", "error", "-m", "fleet.operator.main", "--config", str(self.config)]
        self.process = spawn(argv, log=self.log_file)

    def start_ready(self) -> None:
        self.start()
        self.await_ready()

    def await_ready(self) -> None:
        wait_until(self.readiness, "the operator is ready", timeout=30, until=lambda why: not why, error=self._ended)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process
        return terminate(self.process)

    def close(self) -> None:
        if self.process:
            self.stop()
        self.objects.close()
        self.keys.close()
        self.registry.close()

    def readiness(self) -> str:
        """Why it is not ready; empty when it is."""
        status, body = self.page("/readyz")
        reason = json.loads(body)["reason"] if status else "nobody answers"
        return "" if status == 200 else reason

    def remarks(self) -> list[str]:
        """What is wrong with single objects."""
        return json.loads(self.page("/readyz")[1])["remarks"]

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of one of its pages; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, sample: str) -> float:
        """The value of one sample, 0 where it is not there."""
        lines = [line for line in self.page("/metrics")[1].splitlines() if line.startswith(sample + " ")]
        return float(lines[0].rsplit(" ", 1)[1]) if lines else 0

    @property
    def log_file(self) -> Path:
        return self.root / "operator.log"

    def log(self) -> list[Json]:
        """Every line of its log; a line that is no JSON object fails the test."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    # What an admin does.

    def add_device(self, name: str, **spec: object) -> None:
        self._create("Device", DEVICES, name, dict(spec))

    def edit_device(self, name: str, **spec: object) -> None:
        self.objects.patch(self.objects.path(DEVICES, name), {"spec": spec})

    def delete_device(self, name: str) -> None:
        self.objects.delete(self.objects.path(DEVICES, name))

    def deploy(
        self,
        name: str,
        image: str = "app:1",
        *,
        select: dict[str, str] | None = None,
        container: Json | None = None,
        **spec: object,
    ) -> None:
        workload = {"type": "container", "image": image, **(container or {})}
        full = {"workload": workload, "selector": {"matchLabels": select or {}}, **spec}
        self._create("FleetDeployment", DEPLOYMENTS, name, full)

    def edit_deployment(self, name: str, **spec: object) -> None:
        self.objects.patch(self.objects.path(DEPLOYMENTS, name), {"spec": spec})

    def delete_deployment(self, name: str) -> None:
        self.objects.delete(self.objects.path(DEPLOYMENTS, name))

    def _create(self, kind: str, plural: str, name: str, spec: Json) -> None:
        meta = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec}
        self.objects.create(self.objects.path(plural), body)

    # What a device does.

    def beat(self, device: str, interval: float = 10, *, at: float = 0) -> None:
        heartbeat = Heartbeat(INFO.agent_version, "instance", "boot-1", 1, interval, at=at)
        self.keys.put(DEVICE_HEARTBEAT, device, heartbeat)

    def inform(self, device: str, **fields: object) -> None:
        self.keys.put(DEVICE_INFO, device, msgspec.structs.replace(INFO, **fields))

    def report(self, device: str, deployment: str, generation: int, phase: Phase = Phase.RUNNING) -> None:
        reason = Reason.STARTED if phase is Phase.RUNNING else Reason.IMAGE_NOT_FOUND
        states = self.keys.get(DEVICE_STATE, device) or DeviceStates()
        one = entry(DeviceState(generation, phase, reason))
        self.keys.put(DEVICE_STATE, device, DeviceStates({**states.states, deployment: one}))

    # What a test sees.

    def condition(self, plural: str, name: str, kind: str) -> tuple[str, str] | None:
        """Status and reason of a condition."""
        item = self.objects.device(name) if plural == DEVICES else self.objects.deployment(name)
        conditions = item.status.conditions if item else ()
        return next(((one.status, one.reason) for one in conditions if one.type == kind), None)

    def await_condition(self, plural: str, name: str, kind: str, wanted: tuple[str, str], timeout: float = 30) -> None:
        wait_until(
            lambda: self.condition(plural, name, kind),
            f"{name} is {kind}={wanted[0]} ({wanted[1]})",
            timeout=timeout,
            until=lambda seen: seen == wanted,
            error=self._ended,
            interval=0.01,
        )

    def events(self, name: str) -> list[Json]:
        """The events about an object, raw. They come after the condition that they tell of."""
        return [one for one in self.objects.events() if one["involvedObject"]["name"] == name]

    def _keys(self, user: str, password: str) -> NatsProbe:
        return NatsProbe(lambda: NatsLogin(self.nats.url, self.nats.tls.ca, user, password))

    def _ended(self, _: object) -> str | None:
        assert self.process
        return None if self.process.poll() is None else f"the operator ended:\n{tail(self.log_file)}"


def define_kinds(kube: Kube) -> None:
    """Install the CustomResourceDefinitions, once for a server."""

    def served(name: str) -> bool:
        # `kubectl wait`, and a filter of jsonpath, fail at a definition that has no conditions yet.
        found: Json = json.loads(kube.kubectl("get", "crd", name, "-o", "json"))["status"]
        return any(one["type"] == "Established" and one["status"] == "True" for one in found["conditions"] or ())

    for crd in (device_crd(), deployment_crd()):
        kube.kubectl("apply", "--server-side", "--field-manager=fleet", "-f", "-", stdin=json.dumps(crd))
        name = crd["metadata"]["name"]
        wait_until(partial(served, name), f"the definition {name} is served", timeout=20)


def seconds_since(started: float) -> float:
    return time.monotonic() - started
