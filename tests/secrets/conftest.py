from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.kube.client import KubeClient
from fleet.secrets.chosen import chosen_store
from fleet.secrets.file import FileSecretStore
from fleet.secrets.kubernetes import KubernetesSecretStore
from fleet.secrets.store import SecretStore
from tests.support.kube import Kube
from tests.support.openbao import Bao

Open = Callable[[], SecretStore]
"""Opens a test's store: another one at each call, over the same secrets."""
OpenBaoStore = Callable[..., SecretStore]
"""Opens the store as a file for FLEET_OPENBAO with these fields says."""


@pytest.fixture(params=["file", "kubernetes", "openbao"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Each of the stores in turn, empty."""
    if request.param == "file":
        return lambda: FileSecretStore(tmp_path / "secrets")
    kube: Kube = request.getfixturevalue("kube")
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    namespace = kube.namespace()
    if request.param == "kubernetes":
        return lambda: KubernetesSecretStore(KubeClient(), namespace)
    bao: Bao = request.getfixturevalue("bao")
    environ = {**os.environ, "FLEET_OPENBAO": str(bao.file(tmp_path))}

    def unused() -> SecretStore:
        return FileSecretStore(tmp_path / "unused")

    return lambda: chosen_store(environ, KubeClient(), namespace, unused())


@pytest.fixture
def namespace(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    return kube.namespace()


@pytest.fixture
def path(bao: Bao) -> str:
    """Where this test's secrets are."""
    return bao.fresh()


@pytest.fixture
def openbao(bao: Bao, namespace: str, path: str, tmp_path: Path) -> OpenBaoStore:
    """Opens the store as a file with these fields says."""

    def make(namespace: str = namespace, **fields: object) -> SecretStore:
        environ = {"FLEET_OPENBAO": str(bao.file(tmp_path, **{"path": path, **fields}))}
        return chosen_store(environ, KubeClient(), namespace, FileSecretStore(tmp_path / "unused"))

    return make
