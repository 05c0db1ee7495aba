"""The web page beside a real operator: what it costs the operator's decisions, and how soon a change is seen."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import msgspec
from playwright.sync_api import expect

from benchmarks.apart import apart
from benchmarks.crowd import Crowd
from benchmarks.open_pages import held_open
from benchmarks.plain import Json, Plain, device, plain
from benchmarks.server import running_nats
from benchmarks.usage import cpu_seconds, memory_mib
from fleet.contract.buckets import APP_USER, DEVICE_STATE, WEB_USER
from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES
from fleet.contract.states import gathered
from fleet.contract.versions import user_of
from fleet.contract.wire import DeviceState, Phase, Reason, encode
from fleet.install.rbac import CAPABILITIES, FOR_WEB, web_rbac
from fleet.nats.bus import Login, connect
from harness.probes.browser import chromium, go
from harness.processes.spawn import http_answers
from harness.wait import wait_until
from tests.doubles.zitadel.idp import double_at
from tests.support.kube import Kube, running_kube
from tests.support.nats import PASSWORDS, Nats, free_port
from tests.support.operator import Operator, define_kinds
from tests.support.tls import make_tls
from tests.web.user import User

_CHANGES = 40
_LEAST, _FOR = 10, 60.0
"""Changes that are made in any case, and seconds after which no further one is made."""
_PAGES, _PER_SIGN_IN = 100, 20
_RATE, _TURN = 1_000, 0.05
"""Changes a second, and seconds between two handfuls of them."""
_APP = "all"
_DEADLINE = 300
_LOOK, _AT_REST = 3.0, 0.25
"""Seconds of a look at the operator, and the part of a core that it takes at most when nothing changes: 10,000 devices
that beat cost it 0.07 to 0.15."""
_SEEN = """(text) => { window.seen = new Promise((done) => {
  const look = () => document.getElementById("main").textContent.includes(text) && done(Date.now());
  new MutationObserver(look).observe(document.getElementById("main"), { childList: true, subtree: true });
  look();
}); }"""

Row = tuple[str, ...]


def note(devices: int) -> str:
    """What was measured with so many devices."""
    return (
        f"From Kubernetes to NATS: a real API server, nats-server and operator, {devices:,} devices that beat, and "
        f"{_CHANGES} deployments for one device each, or as many as were made in {_FOR:.0f} s: from the request to "
        "Kubernetes until the order is in NATS."
    )


def rows(devices: int) -> list[Row]:
    """One operator without a page, then one with a page, in the same world."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "page").mkdir()
        nats = Nats(root / "nats", make_tls(root), sealed=False)
        with running_nats(nats), running_kube(root / "kube") as kube, double_at(root / "provider") as idp:
            assert idp.double is not None
            idp.set(deviceInterval=1)
            user = User(idp, idp.double.admin_password()[1], make_tls(root / "page"), free_port())
            user.grant()
            define_kinds(kube)
            names = [f"device-{number:05}" for number in range(devices)]
            with ExitStack() as beside:
                stage = _Stage(kube, nats, user, root, names, beside)
                return [*stage.without_a_page(), *stage.with_pages()]


class _Stage:
    """The servers, and a namespace with devices that run one deployment."""

    def __init__(self, kube: Kube, nats: Nats, user: User, root: Path, names: Sequence[str], beside: ExitStack) -> None:
        """What is to go on until the end is entered into `beside`."""
        self._names, self._beside = names, beside
        self._kube, self._nats, self._user, self._root = kube, nats, user, root
        self._namespace = kube.namespace()
        peers = kube.namespace()
        self._admin = kube.service_account(peers, "plain")
        kube.kubectl(
            *("create", "clusterrolebinding", peers, "--clusterrole=cluster-admin"), f"--serviceaccount={peers}:plain"
        )

    def without_a_page(self) -> list[Row]:
        operator = Operator(self._kube, self._nats, self._root / "alone", self._namespace, resync=_DEADLINE)
        operator.start()
        try:
            asyncio.run(self._begin(operator))
            _await_rest(operator)
            quiet = asyncio.run(self._changes("quiet"))
            with self._load():
                busy = asyncio.run(self._changes("busy"))
        finally:
            operator.close()
        return [
            _row("a change from Kubernetes to NATS, nothing else happens, no page, ms", quiet),
            _row(f"the same while devices make {_RATE:,} changes a second, no page, ms", busy),
        ]

    def with_pages(self) -> list[Row]:
        nats_login = {"nats_user": user_of(WEB_USER, PASSWORDS.web), "nats_pass": PASSWORDS.web}
        page = msgspec.structs.replace(self._user.config, **nats_login)
        operator = Operator(self._kube, self._nats, self._root / "page", self._namespace, resync=_DEADLINE, web=page)
        operator.grant([*CAPABILITIES, FOR_WEB])
        objects = {"apiVersion": "v1", "kind": "List", "items": web_rbac(self._namespace)}
        self._kube.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(objects))
        operator.start()
        url = f"https://localhost:{page.port}"
        try:
            wait_until(lambda: http_answers(f"{url}/sign-in"), "the page answers", timeout=_DEADLINE)
            operator.await_ready()
            _await_rest(operator)
            cookies = [self._sign_in(url) for _ in range(_PAGES // _PER_SIGN_IN)]
            seen = self._seen(url, cookies[0])
            quiet = asyncio.run(self._changes("paged-quiet"))
            with held_open(url, cookies, ("now", "tail"), _PAGES), self._load():
                used, began = cpu_seconds(_page_of(operator)), time.monotonic()
                busy = asyncio.run(self._changes("paged"))
                share = (cpu_seconds(_page_of(operator)) - used) / (time.monotonic() - began) * 100
            memory = memory_mib(_page_of(operator), "VmHWM")
            assert operator.process is not None
            others = memory_mib(operator.process.pid, "VmHWM")
        finally:
            operator.close()
        what = f"{_PAGES} open pages"
        return [
            _row("a change from Kubernetes to NATS, nothing else happens, with the page, ms", quiet),
            _row(f"the same while devices make {_RATE:,} changes a second, with the page and {what}, ms", busy),
            (f"the page's process meanwhile, {what}, % of a core", f"{share:.0f}", f"{share:.0f}", ""),
            (f"memory of the page's process, {len(self._names):,} devices, MiB", f"{memory:.0f}", f"{memory:.0f}", ""),
            (f"memory of the operator, {len(self._names):,} devices, MiB", f"{others:.0f}", f"{others:.0f}", ""),
            _row("a change is seen in the browser, from before it is sent to NATS, ms", seen, "300"),
        ]

    async def _begin(self, operator: Operator) -> None:
        """Every device is online, and is told of the deployment."""
        bus = await connect(self._nats.login(APP_USER, "crowd"), notice=lambda _: None, attempts=50)
        try:
            await asyncio.to_thread(operator.await_ready)
            crowd = Crowd(bus, self._names)
            await crowd.listen()
            async with plain(self._admin) as client:
                made = [device(name, subject=f"sub-{name}", labels={"device": name}) for name in self._names]
                await client.create(self._namespace, DEVICES, made)
                beats = apart(_beating, self._nats.login(APP_USER, "beats"), self._names)
                await asyncio.to_thread(self._beside.enter_context, beats)
                await self._deploy(client, _APP, {})
            await crowd.appear()
            while sum(_APP in crowd.told(name) for name in self._names) < len(self._names):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            for name in self._names:
                await crowd.report(name, _APP, 1)
            await crowd.flush()
        finally:
            await bus.close()

    async def _deploy(self, client: Plain, name: str, labels: dict[str, str]) -> None:
        workload = {"type": "container", "image": "registry.example.org/app:1"}
        spec: Json = {"workload": workload, "selector": {"matchLabels": labels}}
        body: Json = {"apiVersion": API_VERSION, "kind": "FleetDeployment", "metadata": {"name": name}, "spec": spec}
        await client.create(self._namespace, DEPLOYMENTS, [body])

    async def _changes(self, label: str) -> list[float]:
        """Milliseconds from the request to Kubernetes until the order is in NATS, one after the other."""
        bus = await connect(self._nats.login(APP_USER, "crowd"), notice=lambda _: None)
        taken: list[float] = []
        try:
            crowd = Crowd(bus, self._names)
            await crowd.listen()
            first = time.monotonic()
            async with plain(self._admin) as client:
                for number, name in enumerate(self._names[:: len(self._names) // _CHANGES]):
                    app = f"{label}-{number}"
                    began = time.monotonic()
                    await self._deploy(client, app, {"device": name})
                    while app not in crowd.told(name):  # noqa: ASYNC110 - nobody tells
                        await asyncio.sleep(0.002)
                    taken.append((crowd.heard[name][0] - began) * 1000)
                    if len(taken) >= _LEAST and time.monotonic() - first > _FOR:
                        break
                    await asyncio.sleep(0.3)
        finally:
            await bus.close()
        print(f"{label}: {[round(one) for one in taken]}", file=sys.stderr, flush=True)
        return taken

    def _load(self) -> AbstractContextManager[None]:
        """A thousand changes a second, of one device after the other."""
        return apart(_changing, self._nats.login(APP_USER, "load"), self._names)

    def _sign_in(self, url: str) -> str:
        """The cookie of a session, by code."""
        headers = {"accept": "text/html", "origin": url, "sec-fetch-site": "same-origin"}
        with httpx.Client(base_url=url, verify=False, headers=headers, timeout=60, follow_redirects=True) as browser:
            found = re.search(r'id="code">([A-Z-]+)<', browser.post("/sign-in/device").text)
            if found is None:
                raise RuntimeError("the page shows no code")
            self._user.decide(found[1])
            wait_until(
                lambda: browser.post("/sign-in/check").text,
                "the sign-in ends",
                timeout=_DEADLINE,
                until=lambda text: "<h1>Now</h1>" in text,
            )
            return next(f"{one.name}={one.value}" for one in browser.cookies.jar if "session" in one.name)

    def _seen(self, url: str, cookie: str) -> list[float]:
        name, _, value = cookie.partition("=")
        taken: list[float] = []
        with chromium() as browser, ThreadPoolExecutor(1) as elsewhere:
            context = browser.new_context(ignore_https_errors=True)
            context.add_cookies([{"name": name, "value": value, "url": url, "secure": True, "httpOnly": True}])
            tab = context.new_page()
            go(tab, f"{url}/devices/{self._names[1]}")
            expect(tab.locator("#live")).to_contain_text("live")
            first = time.monotonic()
            for number in range(_CHANGES):
                words = f"seen number {number} of {_CHANGES}"
                tab.evaluate(_SEEN, words)
                sent = elsewhere.submit(asyncio.run, _say(self._nats.login(APP_USER), self._names[1], words)).result(60)
                taken.append(float(tab.evaluate("window.seen")) - sent * 1000)
                if len(taken) >= _LEAST and time.monotonic() - first > _FOR:
                    break
        return taken


async def _say(login: Login, name: str, words: str) -> float:
    """When (Unix seconds) the change was about to be sent."""
    bus = await connect(login, notice=lambda _: None)
    try:
        sent = time.time()
        await bus.client.publish(DEVICE_STATE.subject(name), _state(words))
        await bus.client.flush()
        return sent
    finally:
        await bus.close()


def _state(words: str) -> bytes:
    return encode(gathered({_APP: DeviceState(1, Phase.RUNNING, Reason.STARTED, words)}))


async def _beating(login: Login, names: Sequence[str], begun: Event, stop: Event) -> None:
    """Every device beats, whatever else is measured: who falls silent is offline, and 10,000 statuses are written."""
    bus = await connect(login, notice=lambda _: None, attempts=50)
    try:
        beats = asyncio.create_task(Crowd(bus, names).beat())
        begun.set()
        while not stop.is_set() and not beats.done():  # noqa: ASYNC110 - another process tells
            await asyncio.sleep(0.2)
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)
    finally:
        await bus.close()


def _await_rest(operator: Operator) -> None:
    """Wait until the operator has written what there was to write.

    Raises:
        RuntimeError: it does not come to rest.
    """
    assert operator.process is not None
    began = time.monotonic()
    while time.monotonic() - began < _DEADLINE:
        used = cpu_seconds(operator.process.pid)
        time.sleep(_LOOK)
        if cpu_seconds(operator.process.pid) - used < _AT_REST * _LOOK:
            print(f"the operator is at rest after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            return
    raise RuntimeError(f"the operator is not at rest after {_DEADLINE} s")


async def _changing(login: Login, names: Sequence[str], begun: Event, stop: Event) -> None:
    bus = await connect(login, notice=lambda _: None)
    started, sent = time.monotonic(), 0
    try:
        while not stop.is_set():
            while sent < (time.monotonic() - started) * _RATE:
                name = names[sent % len(names)]
                await bus.client.publish(DEVICE_STATE.subject(name), _state(f"change {sent}"))
                sent += 1
            begun.set()
            await asyncio.sleep(_TURN)
        print(f"{sent / (time.monotonic() - started):.0f} changes a second were made", file=sys.stderr, flush=True)
    finally:
        await bus.close()


def _page_of(operator: Operator) -> int:
    """The process id of the page."""
    assert operator.process is not None
    children = Path(f"/proc/{operator.process.pid}/task/{operator.process.pid}/children").read_text().split()
    return next(int(one) for one in children if b"fleet.web" in Path(f"/proc/{one}/cmdline").read_bytes())


def _row(what: str, taken: Sequence[float], wanted: str = "") -> Row:
    return what, f"{statistics.median(taken):.0f}", f"{max(taken):.0f}", wanted
