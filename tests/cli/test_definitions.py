"""The definitions serve a whole cluster: the last server that leaves takes them along. On a cluster of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fleet.contract.objects import FINALIZER
from harness.probes.kube import KubeProbe
from tests.cli.conftest import Fleet, Place, install_words
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube, running_kube

API = "fleet.nationtech.io/v1alpha1"


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """Not that of other tests, who use the definitions too."""
    with running_kube(tmp_path_factory.mktemp("kube")) as server:
        yield server


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """What is to be done at the end of the test, however it ends."""
    with ExitStack() as stack:
        yield stack


def test_deleting_the_data_leaves_the_devices_of_other_servers(
    installed: Place, fleet: Fleet, idp: Idp, kube: Kube, probe: KubeProbe, cleanup: ExitStack
) -> None:
    """The definitions serve the whole cluster: removing them would remove every server's devices."""
    del installed
    other = kube.probe(kube.namespace())
    cleanup.callback(other.close)
    device = {"apiVersion": API, "kind": "Device", "metadata": {"name": "theirs"}, "spec": {}}
    other.create(other.path("devices"), device)
    probe.create(probe.path("devices"), {**device, "metadata": {"name": "ours"}})
    answer = fleet("server", "uninstall", "--delete-data")
    assert answer.code == 0, answer.err
    assert probe.get(probe.path("devices", "ours")) is None
    assert other.device("theirs") is not None
    other.delete(other.path("devices", "theirs"))
    assert fleet(*install_words(idp)).code == 0
    assert fleet("server", "uninstall", "--delete-data").code == 0
    assert other.get(other.path("devices")) is None, "nobody uses the definitions any more"


def test_deleting_the_data_leaves_the_definitions_to_another_server(
    installed: Place, fleet: Fleet, idp: Idp, kube: Kube, cleanup: ExitStack
) -> None:
    """It has no device yet, and is announced all the same."""
    del installed
    other = kube.probe(kube.namespace())
    cleanup.callback(other.close)
    path = f"/api/v1/namespaces/{other.namespace}/configmaps"
    other.create(path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fleet-server"}})
    assert fleet("server", "uninstall", "--delete-data").code == 0
    assert other.get(other.path("devices")) is not None, "its definitions were taken from it"
    other.delete(f"{path}/fleet-server")
    assert fleet(*install_words(idp)).code == 0
    assert fleet("server", "uninstall", "--delete-data").code == 0
    assert other.get(other.path("devices")) is None, "nobody uses the definitions any more"


def test_a_repeat_after_the_definitions_are_gone(installed: Place, fleet: Fleet, kube: Kube) -> None:
    del installed
    kube.kubectl("delete", "crd", "devices.fleet.nationtech.io", "fleetdeployments.fleet.nationtech.io")
    answer = fleet("server", "uninstall", "--delete-data")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "uninstalled before"])
def test_what_nobody_cleans_up_after_is_finished(
    installed: Place, fleet: Fleet, probe: KubeProbe, announced: bool
) -> None:
    """No operator runs here: devices with its finalizer would hang, and with them their namespace's deletion."""
    held = {"name": "pi-1", "finalizers": [FINALIZER]}
    probe.create(probe.path("devices"), {"apiVersion": API, "kind": "Device", "metadata": held, "spec": {}})
    installed.unready["operator"] = "it is gone"
    if not announced:
        assert fleet("server", "uninstall").code == 0
        refused = fleet("device", "show", "pi-9")
        assert "fleet server uninstall --delete-data" in refused.err
    probe.delete(probe.path("devices", "pi-1"))
    answer = fleet("server", "uninstall", "--delete-data")
    assert answer.code == 0, answer.err
    assert probe.get(probe.path("devices", "pi-1")) is None
    assert fleet("server", "uninstall", "--delete-data").code == 3, "nothing is left"
