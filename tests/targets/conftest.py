"""A cluster as others hand it over: a server announced there, an identity provider, and a user of limited rights."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.contract.objects import SERVER_CONFIG_MAP, ServerInfo
from harness.doubles.zitadel import serve
from harness.targets.cluster.policy import RUN_LABEL
from tests.repo.test_documents import ROOT
from tests.support.kube import Kube
from tests.support.operator import define_kinds

Json = dict[str, Any]


def documented_role() -> str:
    """The Role of docs/targets.md."""
    found = re.search(r"```yaml\n(apiVersion: rbac.*?)```", (ROOT / "docs" / "targets.md").read_text(), re.DOTALL)
    assert found, "docs/targets.md shows no Role"
    return found[1]


@dataclass
class Handed:
    """A namespace with an announced server, and what is handed over to those who visit it."""

    kube: Kube
    idp: serve.Running
    folder: Path
    namespace: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def user(self, role: str = "") -> Path:
        """The kubeconfig of a new user with the documented Role, or another."""
        name = f"visitor-{next(self._numbers)}"
        kubeconfig = self.kube.service_account(self.namespace, name)
        text = (role or documented_role()).replace("fleet-test-run", name)
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
        }
        self.kube.kubectl("-n", self.namespace, "create", "-f", "-", stdin=f"{text}\n---\n{json.dumps(binding)}")
        return kubeconfig

    def describe(self, **changes: object) -> Path:
        """A description of it; a field that is None is left out."""
        fields: Json = {
            "kubeconfig": str(changes.pop("kubeconfig", None) or self.user()),
            "namespace": self.namespace,
            "issuer": self.idp.issuer,
            "issuer_ca": str(self.ca),
            "admin_token_file": str(self.idp.admin_token_file()),
            "lease_seconds": 3,
            "lab": {"processes": True},
        } | changes
        file = self.folder / f"target-{next(self._numbers)}.json"
        file.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))
        return file

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def announce(self) -> None:
        """What `fleet server install` writes last."""
        self.kube.kubectl("create", "namespace", self.namespace)
        self.ca.write_text(self.idp.ca)
        info = ServerInfo(self.idp.issuer, "1", "2", "tls://localhost:4222", self.idp.ca, "v0.1.0")
        text = msgspec.json.encode(info).decode()
        self.kube.kubectl(
            "-n", self.namespace, "create", "configmap", SERVER_CONFIG_MAP, f"--from-literal=server.json={text}"
        )

    def add(self, device: str, **labels: str) -> None:
        """A device that somebody made."""
        item: Json = {
            "apiVersion": "fleet.nationtech.io/v1alpha1",
            "kind": "Device",
            "metadata": {"name": device, "namespace": self.namespace, "labels": labels},
            "spec": {},
        }
        self.kube.kubectl("create", "-f", "-", stdin=json.dumps(item))

    def devices(self) -> set[str]:
        shown = self.kube.kubectl("-n", self.namespace, "get", "devices", "-o", "name")
        return {line.partition("/")[2] for line in shown.split()}

    def made_by(self, run_id: str) -> set[str]:
        """What bears a run's mark."""
        mark = f"{RUN_LABEL}={run_id}"
        shown = self.kube.kubectl("-n", self.namespace, "get", "devices,fleetdeployments", "-l", mark, "-o", "name")
        return set(shown.split())

    def everything(self) -> dict[str, Json]:
        """What stands there by kind and name, but for the lease, which changes by itself."""
        kinds = "devices,fleetdeployments,configmaps,secrets,serviceaccounts,roles"
        items = json.loads(self.kube.kubectl("-n", self.namespace, "get", kinds, "-o", "json"))["items"]
        return {f"{item['kind']}/{item['metadata']['name']}": item for item in items}

    def lease(self) -> Json:
        """What the lease says."""
        return json.loads(self.kube.kubectl("-n", self.namespace, "get", "lease", "fleet-test-run", "-o", "json"))[
            "spec"
        ]


def _unheard(call: Json) -> None:
    """Nobody reads what the double was asked."""


@pytest.fixture(scope="session")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serve.Running]:
    with serve.running(tmp_path_factory.mktemp("idp"), audit=_unheard) as made:
        yield made


@pytest.fixture
def handed(kube: Kube, idp: serve.Running, tmp_path: Path) -> Handed:
    """Function: a namespace of its own."""
    return hand_over(kube, idp, tmp_path)


def hand_over(kube: Kube, idp: serve.Running, folder: Path) -> Handed:
    """A new namespace with an announced server."""
    define_kinds(kube)
    made = Handed(kube, idp, folder, kube.fresh("visited"))
    made.announce()
    return made
