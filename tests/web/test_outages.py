"""What the page reads from is away: the real API server, the real NATS, and an identity provider, each in its turn.

The page is the product's process. Nobody touches it: what a person sees in a browser, and that it recovers by itself,
is all that counts.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from fleet.contract.buckets import APP_USER, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE, WEB_USER
from fleet.contract.objects import API_VERSION, DEVICES, WEB_ACCOUNT
from fleet.contract.versions import user_of
from fleet.contract.wire import encode
from fleet.install.rbac import web_rbac
from fleet.nats.bus import Bus, connect
from fleet.operator.credentials import read_credentials
from fleet.web.messages import ApiToken, EventMessage, Start
from fleet.web.source import KUBERNETES, NATS, OPERATOR, PROVIDER
from harness.probes.browser import attach, go, press
from harness.processes.ports import free_port
from harness.processes.spawn import http_answers, spawn, terminate
from harness.wait import wait_until
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube
from tests.support.nats import PASSWORDS, Nats
from tests.support.operator import INFO, define_kinds
from tests.support.tls import Tls, make_tls
from tests.support.web import OFFLINE, ONLINE, Json
from tests.web.operator_input import OperatorInput
from tests.web.user import User

Serving = tuple[str, User, OperatorInput]


class Provider:
    """The double as a process of its own, to be killed and started again with what it knows."""

    def __init__(self, root: Path) -> None:
        self._root, self._port = root, free_port()
        root.mkdir()
        self.tls = make_tls(root)
        self.start()
        about = json.loads((root / "log").read_text().splitlines()[0])
        self.password = Path(about["adminPasswordFile"]).read_text().strip()
        self.idp = Idp(about["issuer"], self.tls.ca, Path(about["adminTokenFile"]).read_text().strip(), None)

    def start(self) -> None:
        argv = [sys.executable, "-m", "harness.doubles.zitadel", "--state", str(self._root / "state")]
        argv += ["--port", str(self._port), "--device-interval", "1"]
        argv += ["--tls-cert", str(self.tls.cert_file), "--tls-key", str(self.tls.key_file)]
        self.process = spawn(argv, log=self._root / "log")
        discovery = f"https://localhost:{self._port}/.well-known/openid-configuration"
        wait_until(lambda: http_answers(discovery), "the provider answers", timeout=60)

    def stop(self) -> None:
        terminate(self.process)

    def close(self) -> None:
        self.idp.http.close()
        self.stop()


class Fleet:
    """The servers, and what an operator and a device would write to them."""

    def __init__(self, kube: Kube, nats: Nats, provider: Provider) -> None:
        self.kube, self.nats, self.provider = kube, nats, provider
        self.namespace = kube.namespace()
        self.write(lambda bus: bus.ensure(DEVICE_INFO, DEVICE_STATE, DEVICE_HEARTBEAT))

    def add(self, name: str, condition: Json) -> None:
        """A device of which the operator has said this."""
        meta = {"name": name, "namespace": self.namespace}
        item = {"apiVersion": API_VERSION, "kind": "Device", "metadata": meta, "spec": {}}
        self.kube.kubectl("apply", "-f", "-", stdin=json.dumps(item))
        status = json.dumps({"status": {"conditions": [condition]}})
        where = ("-n", self.namespace, "patch", DEVICES, name, "--subresource=status", "--type=merge", "-p", status)
        self.kube.kubectl(*where)

    def inform(self, name: str, engine: str) -> None:
        """What a device says of itself, over NATS."""
        said = msgspec.structs.replace(INFO, engine=engine)
        self.write(lambda bus: bus.client.publish(DEVICE_INFO.subject(name), encode(said)))

    def beat(self, name: str, *, count: int = 1) -> None:
        """Heartbeats of a device, one after the other."""

        async def send(bus: Bus) -> None:
            for number in range(count):
                await bus.client.publish(DEVICE_HEARTBEAT.subject(name), b"%d" % number)

        self.write(send)

    def write(self, work: Callable[[Bus], Awaitable[object]]) -> None:
        """Do something at NATS, from a thread of its own: Playwright's loop may run in this one."""

        async def run() -> None:
            bus = await connect(self.nats.login(APP_USER), notice=lambda _: None)
            try:
                await work(bus)
                await bus.client.flush()
            finally:
                await bus.close()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, run()).result(60)


@contextmanager
def page_process(fleet: Fleet, user: User, log: Path) -> Generator[tuple[str, OperatorInput]]:
    """The page, told on its standard input what the operator tells it; yields its address, and who tells it."""
    event = EventMessage("Device", "pi-2", "Warning", "HeartbeatMissed", "not heard since 11:58", 1000.0, 3)
    objects = {"apiVersion": "v1", "kind": "List", "items": web_rbac(fleet.namespace)}
    fleet.kube.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(objects))
    token = fleet.kube.kubectl("-n", fleet.namespace, "create", "token", WEB_ACCOUNT).strip()
    access = read_credentials(str(fleet.kube.kubeconfig))
    nats_login = {"nats_user": user_of(WEB_USER, PASSWORDS.web), "nats_pass": PASSWORDS.web}
    config = msgspec.structs.replace(user.config, **nats_login)
    start = Start(config, fleet.namespace, fleet.nats.url, fleet.nats.tls.ca, access.url, access.ca)
    url = f"https://localhost:{config.port}"
    # Not at the lowest priority: what is seen here must not wait for whatever else this machine does.
    program = "from fleet.web import __main__ as page; page.NICE = 0; page.main()"
    argv = [sys.executable, "-W", "error", "-c", program]
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        assert process.stdin is not None
        try:
            process.stdin.write(encode(start) + b"\n" + encode(ApiToken(token)) + b"\n" + encode(event) + b"\n")
            process.stdin.flush()
            with closing(OperatorInput(process.stdin)) as operator:
                wait_until(lambda: http_answers(f"{url}/sign-in"), "the page answers", timeout=60)
                yield url, operator
        finally:
            process.stdin.close()
            assert process.wait(60) == 0, log.read_text()
            assert "unclosed" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def fleet(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The servers of this module, with a device that is silent and one that is heard."""
    define_kinds(kube)
    root = tmp_path_factory.mktemp("servers")
    nats = Nats(root / "nats", make_tls(root), sealed=False)
    provider = Provider(root / "provider")
    with ExitStack() as cleanup:
        cleanup.callback(provider.close)
        nats.start()
        cleanup.callback(nats.stop)
        made = Fleet(kube, nats, provider)
        made.add("pi-1", ONLINE)
        made.add("pi-2", OFFLINE)
        yield made


@pytest.fixture(scope="module")
def page(fleet: Fleet, tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The page's address, who may look at it, and who tells it what the operator does."""
    user = User(fleet.provider.idp, fleet.provider.password, tls, free_port())
    user.grant()
    with page_process(fleet, user, tmp_path_factory.mktemp("page") / "log") as (url, operator):
        yield url, user, operator


@pytest.fixture
def tab(browser: Browser, page: Serving) -> Iterator[Page]:
    """The first screen, for somebody who signed in by code, once everything is there."""
    url, user, _ = page
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 800})
    found = context.new_page()
    go(found, url)
    press(found, "#by-code")
    user.decide(found.locator("#code").inner_text())
    expect(found.locator("#code, #error")).to_have_count(0, timeout=90_000)
    expect(found.locator("main")).to_contain_text("HeartbeatMissed")
    expect(found.locator("#h-parts")).to_have_count(0)
    yield found
    context.close()


def away(tab: Page, part: str) -> None:
    """The open screen says which part does not answer and since when, in the list and in the banner.

    What is shown comes from every part but the identity provider, so it is not said to be old for that one.
    """
    named = tab.locator("section", has=tab.locator("#h-parts")).locator(".group", has_text=f"{part} does not answer")
    expect(named).to_contain_text("It has not answered for ", timeout=90_000)
    old = expect(named)
    (old.not_to_contain_text if part == PROVIDER else old.to_contain_text)("as it was known before")
    expect(tab.locator("#banner")).to_contain_text(f"{part} does not answer for ")
    expect(tab.locator("main")).to_contain_text("HeartbeatMissed")
    attach(tab, f"{part} is away")


def answers(tab: Page) -> None:
    """It recovers by itself."""
    expect(tab.locator("#h-parts")).to_have_count(0, timeout=90_000)
    expect(tab.locator("#banner")).to_be_empty()


def test_an_api_server_that_is_away_is_named_and_its_return_is_seen(fleet: Fleet, tab: Page) -> None:
    tab.evaluate("window.same = true")
    fleet.kube.stop()
    try:
        away(tab, "Kubernetes")
        fleet.inform("pi-2", "podman 9.9")
        device = tab.context.new_page()
        go(device, f"{tab.url}devices/pi-2")
        expect(device.locator("main")).to_contain_text("podman 9.9")
        expect(device.locator("#banner")).to_contain_text("Kubernetes does not answer for ")
        expect(device.get_by_label("Table of events")).to_contain_text("not heard since 11:58")
        attach(device, "what a device says over NATS is seen all the same")
    finally:
        fleet.kube.start()
    answers(tab)
    fleet.add("pi-3", OFFLINE)
    expect(tab.locator(".members a", has_text="pi-3")).to_be_visible()
    assert tab.evaluate("window.same") is True, "without a reload"


def test_a_nats_that_is_away_is_named_and_its_return_is_seen(fleet: Fleet, tab: Page) -> None:
    fleet.nats.stop()
    try:
        away(tab, "NATS")
        fleet.add("pi-4", OFFLINE)
        expect(tab.locator(".members a", has_text="pi-4")).to_be_visible()
    finally:
        fleet.nats.start()
    answers(tab)
    expect(tab.get_by_label("Table of changes")).to_contain_text("did not answer from ")
    device = tab.context.new_page()
    go(device, f"{tab.url}devices/pi-2")
    expect(device.get_by_label("Table of what happened")).to_contain_text("did not answer from ")
    attach(device, "the gap in what happened to a device")
    fleet.inform("pi-1", "podman 9.10")
    expect(tab.locator("main")).to_contain_text("engine podman 9.10")


def test_the_last_heartbeat_of_a_device_is_seen_while_its_screen_is_open(fleet: Fleet, tab: Page) -> None:
    device = tab.context.new_page()
    go(device, f"{tab.url}devices/pi-1")
    expect(device.locator("#live")).to_contain_text("live")
    heard = device.locator("#heartbeat")
    expect(heard).to_have_text("recently")
    device.evaluate("window.same = true")
    found: list[float] = []
    for _ in range(2):  # the page is told nothing of those that came before it asked, so they go on until it was
        wait_until(lambda: _heard_after(fleet, device, found), "a heartbeat is seen", timeout=60)
        expect(heard).to_contain_text(" s ago")
    fleet.nats.stop()
    try:
        away(tab, NATS)
    finally:
        fleet.nats.start()
    answers(tab)
    wait_until(lambda: _heard_after(fleet, device, found), "a heartbeat is seen after the outage", timeout=60)
    attach(device, "the last heartbeat of a device that is online")
    assert device.evaluate("window.same") is True, "without a reload"


def _heard_after(fleet: Fleet, device: Page, found: list[float]) -> bool:
    """Send many heartbeats; whether the screen then has a newer one than those it had, which becomes the newest."""
    fleet.beat("pi-1", count=200)
    at = float(device.locator("#heartbeat").get_attribute("data-at") or 0)
    if newer := at > max(found, default=0):
        found.append(at)
    return newer


def test_a_provider_that_is_away_is_named_and_those_who_are_signed_in_stay(fleet: Fleet, tab: Page) -> None:
    fleet.provider.stop()
    try:
        away(tab, "identity provider")
        tab.reload()
        expect(tab.locator("h1")).to_have_text("Now")
        elsewhere = tab.context.new_page()
        go(elsewhere, f"{tab.url}sign-in")
        press(elsewhere, "#by-code")
        expect(elsewhere.locator("#error")).to_contain_text("Next: ")
        attach(elsewhere, "nobody can sign in")
    finally:
        fleet.provider.start()
    answers(tab)
    press(elsewhere, "#by-code")
    expect(elsewhere.locator("#code")).to_be_visible()


@contextmanager
def hung(process: subprocess.Popen[bytes] | None) -> Generator[None]:
    """It takes connections, and answers nothing."""
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("part", [KUBERNETES, NATS, PROVIDER])
def test_a_server_that_takes_questions_and_answers_none_is_named(fleet: Fleet, tab: Page, part: str) -> None:
    processes = {KUBERNETES: fleet.kube.process, NATS: fleet.nats.process, PROVIDER: fleet.provider.process}
    tab.evaluate("window.same = true")
    with hung(processes[part]):
        away(tab, part)
        again = tab.context.new_page()
        go(again, f"{tab.url}devices/pi-2")
        expect(again.locator("#banner")).to_contain_text(f"{part} does not answer for ")
        expect(again.locator("#banner")).not_to_contain_text("Error")
        expect(again.locator("main")).to_contain_text("HeartbeatMissed")
        attach(again, f"{part} hangs: what was known of a device is shown")
    answers(tab)
    fleet.inform("pi-1", f"podman 8.{list(processes).index(part)}")
    fleet.add(f"pi-{part[0].lower()}", OFFLINE)
    expect(tab.locator("main")).to_contain_text(f"engine podman 8.{list(processes).index(part)}")
    expect(tab.locator(".members a", has_text=f"pi-{part[0].lower()}")).to_be_visible()
    assert tab.evaluate("window.same") is True, "without a reload"


def test_an_operator_that_hangs_is_named_and_its_return_is_seen(page: Serving, tab: Page) -> None:
    with page[2].hung():
        away(tab, OPERATOR)
    answers(tab)


def test_a_message_of_a_megabyte_is_one_short_line(fleet: Fleet, tab: Page) -> None:
    tail = tab.context.new_page()
    go(tail, f"{tab.url}tail")
    expect(tail.locator("#live")).to_contain_text("live")
    subject = DEVICE_INFO.subject("pi-1")
    for content in (b"x" * 1_000_000, b'{"agentVersion": "' + b"\\u0041" * 160_000 + b'"}'):
        fleet.write(lambda bus, content=content: bus.client.publish(subject, content))
        line = tail.locator("#lines li", has_text=f"({len(subject) + len(content)} bytes)")
        expect(line).to_have_count(1)
        assert len(line.inner_text()) < 500
    attach(tail, "messages of a megabyte")
    fleet.inform("pi-1", "podman 9.11")
    expect(tail.locator("#lines li", has_text="podman 9.11")).to_be_visible()
