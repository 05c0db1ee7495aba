"""The API server as the operator uses it, on the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from fleet.contract.errors import Conflict, NotFound, NotPermitted, Unreachable
from fleet.contract.objects import DEVICES, FINALIZER, Device, DeviceStatus
from fleet.kube import reading as module
from fleet.operator.credentials import read_credentials
from fleet.operator.kube import KubeApi, Meta, Times
from fleet.operator.objects import parse
from fleet.operator.reconcile.actions import Note
from tests.support.kube import Kube

Body = Callable[[KubeApi], Awaitable[None]]


def with_api(kubeconfig: Path, namespace: str, body: Body) -> None:
    async def run() -> None:
        api = KubeApi(lambda: read_credentials(str(kubeconfig)), namespace)
        try:
            await body(api)
        finally:
            await api.close()

    asyncio.run(run())


def create(kinds: Kube, namespace: str, name: str) -> Device:
    probe = kinds.probe(namespace)
    probe.create(probe.path(DEVICES), {"apiVersion": "fleet.nationtech.io/v1alpha1", "kind": "Device"} | _meta(name))
    found = probe.device(name)
    probe.close()
    assert found
    return found


def _meta(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {}}


def meta(device: Device) -> Meta:
    of = device.metadata
    return Meta(of.name, of.uid, of.resource_version, of.finalizers)


@pytest.fixture
def namespace(kinds: Kube) -> str:
    return kinds.namespace()


def test_a_list_comes_in_pages_and_is_complete(kinds: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    devices = [create(kinds, namespace, f"pi-{number}") for number in range(5)]

    async def body(api: KubeApi) -> None:
        items, version = await api.list("Device")
        assert [parse(item, Device) for item in items] == devices
        assert version >= max(int(device.metadata.resource_version) for device in devices)
        assert await api.list("FleetDeployment") == ([], version)

    with_api(kinds.kubeconfig, namespace, body)


def test_a_status_is_written_only_onto_what_it_was_computed_from(kinds: Kube, namespace: str) -> None:
    device = create(kinds, namespace, "pi-1")

    async def body(api: KubeApi) -> None:
        newer = parse(await api.patch_status("Device", meta(device), DeviceStatus(deployments=1)), Device)
        assert newer.status.deployments == 1
        with pytest.raises(Conflict):
            await api.patch_status("Device", meta(device), DeviceStatus(deployments=9))
        with pytest.raises(Conflict):
            await api.set_finalizers("Device", meta(device), held=True)
        whole = parse(await api.patch_status("Device", meta(newer), DeviceStatus(last_heartbeat="x")), Device)
        assert whole.status == DeviceStatus(last_heartbeat="x"), "it replaces all of what was there"
        with pytest.raises(NotFound):
            await api.patch_status("Device", msgspec.structs.replace(meta(whole), name="nobody"), DeviceStatus())

    with_api(kinds.kubeconfig, namespace, body)


def test_our_finalizer_comes_and_goes_and_others_stay(kinds: Kube, namespace: str) -> None:
    device = create(kinds, namespace, "pi-1")
    foreign = "example.com/other"
    kinds.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", _finalizers(foreign))

    async def body(api: KubeApi) -> None:
        (item,), _ = await api.list("Device")
        held = parse(await api.set_finalizers("Device", meta(parse(item, Device)), held=True), Device)
        assert held.metadata.finalizers == (foreign, FINALIZER)
        let_go = parse(await api.set_finalizers("Device", meta(held), held=False), Device)
        assert let_go.metadata.finalizers == (foreign,)
        assert let_go.metadata.generation == device.metadata.generation

    with_api(kinds.kubeconfig, namespace, body)
    kinds.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", _finalizers())


def _finalizers(*names: str) -> str:
    return msgspec.json.encode({"metadata": {"finalizers": names}}).decode()


def test_an_event_shows_in_kubectl_describe(kinds: Kube, namespace: str) -> None:
    device = create(kinds, namespace, "pi-1")

    async def body(api: KubeApi) -> None:
        await api.create_event(
            "Device", meta(device), Note("Warning", "HeartbeatMissed", "it is " + "x" * 2000), Times(9e8, 1e9, 7)
        )

    with_api(kinds.kubeconfig, namespace, body)
    told = kinds.kubectl("-n", namespace, "describe", "device", "pi-1")
    assert "HeartbeatMissed" in told
    assert "x7 over" in told


def test_what_is_refused_names_the_right_that_is_missing(kinds: Kube, namespace: str) -> None:
    async def body(api: KubeApi) -> None:
        with pytest.raises(NotPermitted, match='cannot list resource "devices"'):
            await api.list("Device")

    with_api(kinds.service_account(namespace, "nobody"), namespace, body)


def test_a_token_that_was_renewed_in_place_is_read_again(kinds: Kube, namespace: str) -> None:
    tokens = [kinds.with_token("expired"), kinds.kubeconfig]

    async def run() -> None:
        api = KubeApi(lambda: read_credentials(str(tokens.pop(0))), namespace)
        assert (await api.list("Device"))[0] == []
        await api.close()

    asyncio.run(run())
    assert tokens == []


def test_nobody_listening_is_unreachable(kinds: Kube, namespace: str, tmp_path: Path) -> None:
    text = kinds.kubeconfig.read_text().replace(kinds.url, "https://127.0.0.1:1")
    away = tmp_path / "away"
    away.write_text(text)

    async def body(api: KubeApi) -> None:
        with pytest.raises(Unreachable, match="does not answer"):
            await api.list("Device")

    with_api(away, namespace, body)
