"""What Kubernetes refuses of a workload, and what the model refuses, is the same: a real API server holds the rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fleet.contract.crd import deployment_crd
from fleet.contract.errors import InvalidInput
from fleet.contract.objects import API_VERSION, FleetDeployment
from fleet.contract.wire import Container, from_builtins
from fleet.kube.client import KubeClient
from harness.errors import HarnessError
from harness.probes.kube import KubeProbe
from harness.wait import wait_until
from tests.support.kube import Kube

VOLUME = {"type": "volume", "path": "/data", "source": "data"}
TMPFS = {"type": "tmpfs", "path": "/tmp"}
GOOD: list[dict[str, Any]] = [
    {"mounts": [VOLUME, {**TMPFS, "size": 1024}, {"type": "bind", "path": "/host", "source": "/srv/..data"}]},
    {"files": [{"path": "/etc/app.conf", "content": "x" * 65_536, "mode": "640", "user": 4294967294}]},
    {"limits": {"memory": 6 * 2**20, "cpus": 0.5, "pids": 1}, "ulimits": [{"name": "core", "soft": -1, "hard": -1}]},
    {"network": "host"},
    {"network": "bridge", "ports": [{"host": 1, "container": 1}]},
    {
        "labels": {"team/name": "x"},
        "extraHosts": {"cache.example": "::1", "device": "host-gateway"},
        "dns": ["192.0.2.1"],
    },
    {"security": {"options": ["apparmor=a/b"], "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}},
    {
        "devices": [{"source": "/dev/ttyUSB0"}],
        "user": "app:0",
        "hostname": "a-1",
        "stop": {"signal": "SIGRTMIN+3", "grace": 600},
    },
]
BAD: list[dict[str, Any]] = [
    *(
        {"mounts": [{**VOLUME, "path": path}]}
        for path in ("data", "/", "/a/../b", "/a/..", "/a//b", "/a/", "/./a", "/a:b", "/a\nb")
    ),
    *({"mounts": [{"type": "bind", "path": "/a", "source": source}]} for source in ("", "data", "/a/../../etc", "/")),
    *({"mounts": [{**VOLUME, "source": source}]} for source in ("", "/srv", "..", "-x", "a/b")),
    {"mounts": [{"path": "/a", "source": "data"}]},
    {"mounts": [{**TMPFS, "source": "data"}]},
    {"mounts": [{**VOLUME, "size": 1}]},
    {"mounts": [VOLUME, {**TMPFS, "path": "/data"}]},
    {"mounts": [VOLUME], "files": [{"path": "/data"}]},
    {"mounts": [{**VOLUME, "path": f"/{number}"} for number in range(33)]},
    {"files": [{"path": "/a", "content": "x" * 65_537}]},
    *({"files": [{"path": "/a", "mode": mode}]} for mode in ("4755", "0888", "rw", "")),
    {"files": [{"path": "/a", "user": 4294967295}]},
    *({"limits": {"memory": memory}} for memory in (1, 6 * 2**20 - 1, -1, 2**46 + 1)),
    {"limits": {"cpus": -0.1}},
    {"limits": {"pids": -1}},
    {"ulimits": [{"name": "no file", "soft": 1, "hard": 1}]},
    {"ulimits": [{"name": "nofiles", "soft": 1, "hard": 1}]},
    {"ulimits": [{"name": "nofile", "soft": 2, "hard": 1}]},
    {"ulimits": [{"name": "nofile", "soft": -1, "hard": 1}]},
    {"security": {"capabilities": {"drop": ["CAP_SETUID"]}}},
    {"dns": ["192.0.2.256"]},
    *({"network": network, "ports": [{"host": 1, "container": 1}]} for network in ("host", "none")),
    {"network": "container:other"},
    {"labels": {"io.fleet.device": "another"}},
    {"security": {"options": ["seccomp=/etc/x"]}},
    {"security": {"capabilities": {"add": ["net_admin"]}}},
    {"devices": [{"source": "/dev/../etc/shadow"}]},
    {"devices": [{"source": "/dev/a", "permissions": "x"}]},
    {"user": "a b"},
    {"hostname": "a_b"},
    {"dns": ["dns.example"]},
    {"extraHosts": {"a b": "192.0.2.1"}},
    {"stop": {"signal": "INT"}},
    {"stop": {"signal": "SIGFOO"}},
    {"stop": {"signal": "SIGRTMIN+16"}},
    {"stop": {"grace": 601}},
    {"log": {"size": 1}},
    {"pull": "Sometimes"},
    {"platform": "arm64"},
    {"workingDir": "srv"},
]


ONE = {"name": "web", "image": "web:1"}
TWO = {"name": "db", "image": "db:1"}
GOOD_PODS: list[dict[str, Any]] = [
    {"containers": [ONE]},
    {
        "initContainers": [{"name": "init", "image": "init:1", "restart": "no"}],
        "containers": [{**ONE, "dependsOn": [{"name": "db", "condition": "Healthy"}]}, {**TWO, **GOOD[0]}],
        "update": {"deadline": 60},
    },
    {"containers": [{**ONE, **more, "name": f"one-{number}"} for number, more in enumerate(GOOD)]},
    {"containers": [{**ONE, "name": f"one-{number}"} for number in range(16)]},
    {"containers": [{**ONE, "dependsOn": [{"name": "db", "condition": "Completed"}]}, {**TWO, "restart": "no"}]},
]
BAD_PODS: list[dict[str, Any]] = [
    {},
    {"containers": []},
    {"containers": [{"name": "web"}]},
    {"containers": [{"image": "web:1"}]},
    {"containers": [ONE, ONE]},
    *({"containers": [{**ONE, "name": name}]} for name in ("", "Web", "a_b", "-a", "a" * 64, "a.b", "localhost")),
    {"containers": [{**ONE, "name": f"one-{number}"} for number in range(17)]},
    {"containers": [{**ONE, "dependsOn": [{"name": "db", "condition": "Well"}]}, TWO]},
    {"containers": [ONE], "initContainers": [{**TWO, "restart": "always"}]},
    {"containers": [ONE], "initContainers": [{**TWO, "name": "localhost"}]},
    {"containers": [ONE], "update": {"order": "StartFirst"}},
    *({"containers": [{**ONE, **more}]} for more in BAD[::5]),
    {"containers": [{**ONE, "dependsOn": [{"name": "web"}]}]},
    {"containers": [{**ONE, "dependsOn": [{"name": "absent"}]}]},
    {"containers": [{**ONE, "dependsOn": [{"name": "init"}]}], "initContainers": [{"name": "init", "image": "init:1"}]},
    {"containers": [{**ONE, "dependsOn": [{"name": "db"}, {"name": "db"}]}, TWO]},
    *(
        {"containers": [{**ONE, "dependsOn": [{"name": "db", "condition": "Completed"}]}, {**TWO, **more}]}
        for more in ({}, {"restart": "always"})
    ),
    {"containers": [ONE], "initContainers": [ONE]},
]
BEYOND_KUBERNETES: list[dict[str, Any]] = [
    {"containers": [{**ONE, "dependsOn": [{"name": "db"}]}, {**TWO, "dependsOn": [{"name": "web"}]}]},
    {"containers": [{**one, "ports": [{"host": 80, "container": 80}]} for one in (ONE, TWO)]},
]
"""What holds between containers, and the model alone refuses, for a rule of it costs Kubernetes too much."""


@pytest.fixture(scope="module")
def probe(kube: Kube) -> Iterator[KubeProbe]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kube.kubeconfig))
        KubeClient().apply([deployment_crd()])
    with closing(kube.probe(kube.namespace())) as probe:
        wait_until(lambda: probe.get(probe.path("fleetdeployments")), "the definition is served", timeout=20)
        yield probe


def deployment(more: dict[str, Any]) -> dict[str, Any]:
    spec = {"workload": {"type": "container", "image": "web:1", **more}}
    return {"apiVersion": API_VERSION, "kind": "FleetDeployment", "metadata": {"name": "web"}, "spec": spec}


def pod(more: dict[str, Any]) -> dict[str, Any]:
    return {**deployment({}), "spec": {"workload": {"type": "pod", **more}}}


def written(containers: list[dict[str, Any]], pods: list[dict[str, Any]]) -> list[Any]:
    """Deployments of either type, as parameters."""
    made = [("container", deployment, containers), ("pod", pod, pods)]
    return [pytest.param(make(one), id=f"{kind}-{at}") for kind, make, every in made for at, one in enumerate(every)]


@pytest.mark.parametrize("item", written(GOOD, GOOD_PODS))
def test_what_the_model_takes_kubernetes_takes(probe: KubeProbe, item: dict[str, Any]) -> None:
    from_builtins(item, FleetDeployment)
    probe.create(f"{probe.path('fleetdeployments')}?dryRun=All", item)


@pytest.mark.parametrize("item", written(BAD, BAD_PODS))
def test_what_the_model_refuses_kubernetes_refuses(probe: KubeProbe, item: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        from_builtins(item, FleetDeployment)
    with pytest.raises(HarnessError):
        probe.create(f"{probe.path('fleetdeployments')}?dryRun=All", item)


@pytest.mark.parametrize("more", BEYOND_KUBERNETES, ids=map(str, range(len(BEYOND_KUBERNETES))))
def test_what_holds_between_containers_the_model_refuses(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        from_builtins(pod(more), FleetDeployment)


@pytest.mark.parametrize("more", GOOD, ids=map(str, range(len(GOOD))))
def test_kubernetes_refuses_beside_a_pod_what_is_of_each_container(probe: KubeProbe, more: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match="all else is said of each container"):
        probe.create(f"{probe.path('fleetdeployments')}?dryRun=All", pod({"containers": [ONE], **more}))


def test_a_workload_without_a_type_is_a_container(probe: KubeProbe) -> None:
    untyped = {**deployment({}), "metadata": {"name": "untyped"}, "spec": {"workload": {"image": "web:1"}}}
    probe.create(probe.path("fleetdeployments"), untyped)
    made = probe.deployment("untyped")
    assert made is not None
    assert made.spec.workload == Container(image="web:1")


def test_kubernetes_refuses_containers_beside_an_image(probe: KubeProbe) -> None:
    with pytest.raises(HarnessError, match="are of the type pod"):
        probe.create(f"{probe.path('fleetdeployments')}?dryRun=All", deployment({"containers": [ONE]}))
