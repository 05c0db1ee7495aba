"""The web page in Chromium: what a person waits for, and what open pages cost."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from playwright.sync_api import Browser, BrowserContext, Page, expect

from benchmarks import web_servers
from benchmarks.open_pages import held_open
from benchmarks.report import Table
from fleet.contract.states import gathered
from fleet.contract.wire import DeviceState, Phase, Reason
from harness.probes.browser import chromium, go
from tests.support.tls import make_tls
from tests.support.web import RunningPage, condition, deployment, device, web_page, workload

_DEVICES = 10_000
_ROUNDS = 10
_PAGES, _FOR = 100, 20.0
"""Open pages, and for how many seconds they are."""
_DEPLOYMENTS = 20
_FILTER = """() => {
  const q = document.getElementById("q");
  const began = performance.now();
  q.value = q.value ? "" : "site=s3";
  q.dispatchEvent(new Event("input"));
  document.body.getBoundingClientRect();
  return performance.now() - began;
}"""
_SCROLL = """async () => {
  const scroll = document.getElementById("scroll");
  const taken = [];
  for (let step = 0; step < 200; step++) {
    const began = performance.now();
    scroll.scrollTop += scroll.clientHeight;
    // A frame in which the list hears that it was scrolled, and draws; and the next one, which comes after that.
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    taken.push(performance.now() - began);
  }
  return taken;
}"""
_SEEN = """(text) => new Promise((done) => {
  const look = () => document.getElementById("main").textContent.includes(text) && done(Date.now());
  new MutationObserver(look).observe(document.getElementById("main"), { childList: true, subtree: true });
  look();
})"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_HEAP = "performance.memory.usedJSHeapSize / 2 ** 20"


class _Process(msgspec.Struct):
    id: int
    type: str


class _Told(msgspec.Struct, rename="camel"):
    process_info: list[_Process]


def run(devices: int) -> Table:
    """A page that knows 10,000 devices, over TLS on loopback; then a real operator with so many `devices`."""
    with tempfile.TemporaryDirectory() as folder:
        page = RunningPage(web_page(make_tls(Path(folder))))
        try:
            page.show(*(device(f"dev-{number:05}", site=f"s{number % 7}") for number in range(_DEVICES)))
            rows = [*_in_a_browser(page), *_open_pages(page), *_deployments(page)]
        finally:
            page.close()
    rows += web_servers.rows(devices)
    notes = (
        "Medians, and the slowest. A change counts from when the page's process has heard it of NATS.",
        f"{_PAGES} pages on the first screen for {_FOR:.0f} s: nothing changes, then one device does each second.",
        f"The pages of {_DEPLOYMENTS} deployments: each selects and has an answer of every device, and one device says "
        "something new of all of them each second.",
        web_servers.note(devices),
    )
    return Table("web", ("what", "median", "slowest", "wanted"), tuple(rows), notes)


def _in_a_browser(page: RunningPage) -> list[tuple[str, ...]]:
    with chromium() as browser:
        context = browser.new_context(ignore_https_errors=True)
        ((name, value),) = page.cookie().items()
        context.add_cookies([{"name": name, "value": value, "url": page.url, "secure": True, "httpOnly": True}])
        expect.set_options(timeout=60_000)
        first = [_first(context, page) for _ in range(_ROUNDS)]
        tab = context.new_page()
        listed = [_listed(tab, page)]
        opened = _memory(browser)
        listed += [_listed(tab, page) for _ in range(_ROUNDS - 1)]
        scrolled = [float(one) for one in tab.evaluate(_SCROLL)]
        filtered = [float(tab.evaluate(_FILTER)) for _ in range(2 * _ROUNDS)]
        before = _memory(browser)
        context.new_cdp_session(tab).send("HeapProfiler.collectGarbage")
        heap, after = float(tab.evaluate(_HEAP)), _memory(browser)
        seen = [_seen(tab, page, number) for number in range(_ROUNDS)]
    return [
        _row("first picture of the first screen, ms", first, "1000"),
        _row("10,000 devices listed, ms", listed, "1000"),
        _row("10,000 devices filtered, ms", filtered, "50"),
        _row("10,000 devices scrolled by a screen, until it is drawn, ms", scrolled, "50"),
        _row("a change is seen, ms", seen, "300"),
        ("memory of the list's scripts, MiB", f"{heap:.0f}", f"{heap:.0f}", "150"),
        ("memory of the process that shows the list, opened once, MiB", f"{opened:.0f}", f"{opened:.0f}", "150"),
        (f"the same, opened {_ROUNDS} times and used, MiB", f"{after:.0f}", f"{after:.0f}", "150"),
        ("the same, with garbage that Chromium has not collected yet, MiB", f"{before:.0f}", f"{before:.0f}", ""),
    ]


def _memory(browser: Browser) -> float:
    """MiB of the largest process that shows pages, which Chromium names itself (CDP, SystemInfo.getProcessInfo)."""
    told: _Told = msgspec.convert(browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo"), _Told)
    return max(_share(one.id) for one in told.process_info if one.type == "renderer")


def _share(process: int) -> float:
    """Its memory in MiB, of what it shares with others its share (Pss: proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _row(what: str, taken: list[float], wanted: str) -> tuple[str, ...]:
    return what, f"{statistics.median(taken):.0f}", f"{max(taken):.0f}", wanted


def _first(context: BrowserContext, page: RunningPage) -> float:
    tab = context.new_page()
    go(tab, page.url)
    expect(tab.locator("#live")).to_contain_text("live")
    painted = float(tab.evaluate(_PAINTED))
    tab.close()
    return painted


def _listed(tab: Page, page: RunningPage) -> float:
    began = time.monotonic()
    go(tab, f"{page.url}/devices")
    expect(tab.locator("#count")).to_have_text(f"{_DEVICES} of {_DEVICES} devices")
    return (time.monotonic() - began) * 1000


def _seen(tab: Page, page: RunningPage, number: int) -> float:
    go(tab, f"{page.url}/devices/dev-00001")
    expect(tab.locator("#live")).to_contain_text("live")
    words = f"change number {number}"
    said = gathered({"web": DeviceState(number + 1, Phase.FAILED, Reason.EXITED, words)})
    waiting = tab.evaluate_handle("(text) => { window.seen = (" + _SEEN + ")(text); }", words)
    began = time.time()
    page.do(lambda: page.parts.store.update_states("dev-00001", said))
    taken = float(tab.evaluate("window.seen")) - began * 1000
    waiting.dispose()
    return taken


def _open_pages(page: RunningPage) -> list[tuple[str, ...]]:
    cookies = [f"{name}={value}" for _ in range(_PAGES // 20) for name, value in page.cookie().items()]
    with held_open(page.url, cookies, ("now",), _PAGES):
        quiet = _cost(page, changes=False)
        busy = _cost(page, changes=True)
    what = f"{_PAGES} open pages, % of a core"
    return [(f"{what}, nothing changes", quiet, quiet, "5"), (f"{what}, a change a second", busy, busy, "5")]


def _deployments(page: RunningPage) -> list[tuple[str, ...]]:
    """Pages that show deployments, of which each has every device."""
    names = [f"app-{number:02}" for number in range(_DEPLOYMENTS)]
    running = [workload(name, "Running", "Healthy") for name in names]
    every = [device(f"dev-{number:05}", site=f"s{number % 7}", workloads=running) for number in range(_DEVICES)]
    ready = condition("Ready", "True", "AllReady")
    items = [deployment(name, ready, matched=_DEVICES, updated=_DEVICES, ready=_DEVICES) for name in names]
    for item in items:
        item["spec"]["selector"] = {}
    page.show(*every, deployments=tuple(items))
    cookies = [f"{name}={value}" for _ in range(_PAGES // 20) for name, value in page.cookie().items()]
    with held_open(page.url, cookies, [f"deployment/{name}" for name in names], _PAGES):
        busy = _cost(page, changes=True, of=names)
    return [(f"{_PAGES} open pages of {_DEPLOYMENTS} deployments, a change a second, % of a core", busy, busy, "5")]


def _cost(page: RunningPage, *, changes: bool, of: Sequence[str] = ("web",)) -> str:
    """What this process, in which the page runs, takes of a processor; a change is one of the deployments `of`."""
    began, used = time.monotonic(), time.process_time()
    number = 0
    while time.monotonic() - began < _FOR:
        time.sleep(1)
        number += 1
        if changes:
            said = gathered({one: DeviceState(1, Phase.FAILED, Reason.EXITED, f"again {number}") for one in of})
            page.do(lambda said=said: page.parts.store.update_states("dev-00002", said))
    return f"{(time.process_time() - used) / (time.monotonic() - began) * 100:.1f}"
