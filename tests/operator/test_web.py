"""The web page's process: what it may do, and that nothing of it can hold the operator up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fleet.contract.buckets import AGENT_TARGET, ALL_CHANGES, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE, WEB_USER
from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP, WEB_ACCOUNT
from fleet.contract.versions import user_of
from fleet.install.rbac import CAPABILITIES, FOR_WEB, web_rbac
from fleet.nats.bus import Login, connect
from harness.processes.ports import free_port
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.nats import PASSWORDS, Nats
from tests.support.operator import Operator
from tests.support.tls import make_tls
from tests.support.web import web_page


@pytest.fixture(scope="module")
def serving(kinds: Kube, nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator of this module that serves the page."""
    folder = tmp_path_factory.mktemp("web")
    user = user_of(WEB_USER, PASSWORDS.web)
    page = web_page(make_tls(folder), port=free_port(), nats_user=user, nats_pass=PASSWORDS.web)
    running = Operator(kinds, nats, folder / "operator", kinds.namespace(), web=page)
    running.grant([*CAPABILITIES, FOR_WEB])
    objects = {"apiVersion": "v1", "kind": "List", "items": web_rbac(running.namespace)}
    kinds.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(objects))
    running.start_ready()
    yield running
    running.close()


def answer(operator: Operator) -> int:
    """The status of the page's first answer over TLS that the page's own authority signs; 0 when nobody answers."""
    assert operator.web is not None
    trust = ssl.create_default_context(cadata=operator.web.issuer_ca)
    try:
        return httpx.get(f"https://localhost:{operator.web.port}/sign-in", verify=trust, timeout=5).status_code
    except httpx.HTTPError:
        return 0


def process_of(operator: Operator) -> int:
    """The process id of the page; 0 when there is none."""
    assert operator.process is not None
    children = Path(f"/proc/{operator.process.pid}/task/{operator.process.pid}/children").read_text().split()
    found = [int(one) for one in children if b"fleet.web" in Path(f"/proc/{one}/cmdline").read_bytes()]
    return found[0] if found else 0


def await_page(operator: Operator) -> None:
    wait_until(lambda: answer(operator), "the page answers", timeout=30, until=lambda status: status == 200)


def test_its_account_may_look_at_devices_and_deployments_and_nothing_else(serving: Operator) -> None:
    account = f"system:serviceaccount:{serving.namespace}:{WEB_ACCOUNT}"

    def may(verb: str, resource: str) -> bool:
        whole, _, part = resource.partition("/")
        name, _, group = whole.partition(".")
        asked = {"namespace": serving.namespace, "verb": verb, "group": group, "resource": name, "subresource": part}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "resourceAttributes": asked},
        }
        answered = serving.kube.kubectl(
            "create", "-f", "-", "-o", "jsonpath={.status.allowed}", stdin=json.dumps(review)
        )
        return answered == "true"

    ours = [f"{DEVICES}.{GROUP}", f"{DEPLOYMENTS}.{GROUP}"]
    assert all(may(verb, resource) for verb in ("get", "list", "watch") for resource in ours)
    writes = ("create", "update", "patch", "delete", "deletecollection")
    assert not any(may(verb, f"{resource}{part}") for verb in writes for resource in ours for part in ("", "/status"))
    others = ("secrets", "configmaps", "pods", "events", "serviceaccounts", "roles.rbac.authorization.k8s.io")
    assert not any(may(verb, resource) for verb in ("get", "list", "create") for resource in others)
    assert not may("create", "serviceaccounts/token")


def test_its_user_may_hear_two_buckets_and_of_heartbeats_and_say_nothing(nats: Nats) -> None:
    async def play() -> list[str]:
        said: list[str] = []
        login = Login(nats.url, "probe", nats.tls.ca, user=user_of(WEB_USER, PASSWORDS.web), password=PASSWORDS.web)
        bus = await connect(login, notice=lambda text: said.append(text.lower()), attempts=1)
        try:
            await bus.kv(DEVICE_INFO).listen("*", lambda _: None)
            await bus.kv(DEVICE_STATE).listen("*", lambda _: None)
            await bus.subscribe(DEVICE_HEARTBEAT.changed("pi-1"), lambda: None)
            assert said == []
            await bus.kv(DEVICE_HEARTBEAT).listen("*", lambda _: None)
            for notices in (ALL_CHANGES, AGENT_TARGET.changed("*"), DEVICE_INFO.changed("*")):
                await bus.subscribe(notices, lambda: None)
            for subject in (
                DEVICE_HEARTBEAT.changed("pi-1"),
                DEVICE_INFO.subject("pi-1"),
                "$JS.API.STREAM.LIST",
                "anything",
            ):
                await bus.client.publish(subject, b"{}")
            await bus.client.flush()
        finally:
            await bus.close()
        return said

    said = " ".join(asyncio.run(play()))
    assert 'permissions violation for subscription to "$kv.device-heartbeat.*"' in said
    for notices in ("fleet.changed.>", "fleet.changed.agent-target.*", "fleet.changed.device-info.*"):
        assert f'permissions violation for subscription to "{notices}"' in said
    for subject in ("fleet.changed.device-heartbeat.pi-1", "$kv.device-info.pi-1", "$js.api.stream.list", "anything"):
        assert f'permissions violation for publish to "{subject}"' in said


def test_it_ends_and_comes_back_and_the_operator_stays_ready(serving: Operator) -> None:
    await_page(serving)
    first = process_of(serving)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: process_of(serving), "another process", timeout=30, until=lambda pid: pid not in {0, first})
    assert serving.readiness() == "", "that the page is away makes the operator no less ready"
    await_page(serving)
    wait_until(serving.remarks, "nothing is remarked", timeout=30, until=lambda remarks: not remarks)


def test_it_goes_first_when_there_is_little_time(serving: Operator) -> None:
    await_page(serving)
    assert serving.process is not None
    pid = process_of(serving)
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, serving.process.pid)
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert PASSWORDS.web.encode() not in arguments, "it is told its secrets on its standard input"


def test_without_its_right_the_operator_says_so_and_works(serving: Operator) -> None:
    await_page(serving)
    serving.grant(CAPABILITIES)
    os.kill(process_of(serving), signal.SIGKILL)
    words = 'cannot create resource "serviceaccounts/token"'
    wait_until(serving.remarks, words, timeout=30, until=lambda remarks: any(words in one for one in remarks))
    assert serving.readiness() == ""
    serving.grant([*CAPABILITIES, FOR_WEB])
    await_page(serving)


def test_it_is_served_while_nats_is_away_from_the_beginning(kinds: Kube, own_nats: Nats, tmp_path: Path) -> None:
    """Such as after a power cut: it is what says that NATS is away. It was there once NATS was."""
    (tmp_path / "page").mkdir()
    tls, user = make_tls(tmp_path / "page"), user_of(WEB_USER, PASSWORDS.web)
    page = web_page(tls, port=free_port(), nats_user=user, nats_pass=PASSWORDS.web)
    operator = Operator(kinds, own_nats, tmp_path / "operator", kinds.namespace(), web=page)
    operator.grant([*CAPABILITIES, FOR_WEB])
    objects = {"apiVersion": "v1", "kind": "List", "items": web_rbac(operator.namespace)}
    kinds.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(objects))
    own_nats.stop()
    operator.start()
    try:
        await_page(operator)
        pid = process_of(operator)
        assert operator.readiness() != ""
        own_nats.start()
        operator.await_ready()
        assert process_of(operator) == pid, "it is the same one"
    finally:
        operator.close()


def test_it_ends_with_the_operator_however_that_ends(serving: Operator) -> None:
    await_page(serving)
    pid = process_of(serving)
    serving.kill()
    wait_until(lambda: Path(f"/proc/{pid}").exists(), "it is gone", timeout=30, until=lambda there: not there)
    serving.start_ready()
    await_page(serving)
