"""The pictures of `docs/web.md`: `python -m tests.web.pictures FOLDER`. Its clocks stand still: they stay the same."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from fleet.contract.config import SecretAge
from fleet.contract.states import gathered
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.web.messages import EventMessage, RevisionsMessage, RevisionSummary
from fleet.web.source import NATS, Sources
from harness.probes.browser import chromium, go
from tests.support.tls import make_tls
from tests.support.web import INFO, Json, RunningPage, condition, deployment, device, web_page, workload
from tests.web.inspection import COUNTED_NEWS, settled
from tests.web.test_browser import sign_in

_NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
_DESK, _PHONE = {"width": 1200, "height": 800}, {"width": 390, "height": 844}


def ago(minutes: float) -> str:
    """So many minutes before now."""
    return (_NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def show(page: RunningPage) -> None:
    """A fleet of eleven devices: one is silent, one crashes, one takes a new agent, and a rollout has halted.

    NATS was away for ten minutes. Messages are as the agent and the operator write them (`make play BROKEN=1`).
    """
    known = page.parts.store
    page.do(lambda: setattr(known, "now", _NOW.timestamp))
    online = condition("Online", "True", "HeartbeatReceived", since=ago(300))
    silent = condition("Online", "False", "HeartbeatMissed", "its heartbeat is overdue", ago(3))
    soaking = condition("Upgraded", "False", "Soaking", "v0.1.1", ago(1))
    upgrading = {**INFO, "upgrade": {"generation": 1, "phase": "Soaking", "reason": "InProgress", "running": "v0.1.1"}}
    web = {**workload("web", "Running", "Healthy"), "since": ago(4000)}
    sensor = {**workload("sensor", "Running", "Healthy", generation=3), "since": ago(4000)}
    crash = workload("sensor", "Restarting", "CrashLoop", "exit code 1", generation=4)
    why = "1 of 4 devices failed; oslo-7: CrashLoop: exit code 1"
    failed = condition("Ready", "False", "DevicesFailed", why, ago(12))
    stopped = "1 failed, 1 may be unavailable: no further device is changed"
    halted = condition("Progressing", "False", "Halted", stopped, ago(12))
    rollout = deployment("sensor", failed, failed=1, matched=4, updated=1, ready=0, observedGeneration=4)
    rollout["metadata"]["generation"] = 4
    rollout["status"]["conditions"].append(halted)
    rollout["spec"]["selector"] = {"matchLabels": {"site": "oslo"}}
    whole = condition("Ready", "True", "AllReady", since=ago(4000))
    page.show(
        *(_aged(device(f"berlin-{n}", online, site="berlin", deployments=1, workloads=[web])) for n in range(1, 7)),
        _aged(device("berlin-7", online, site="berlin", deployments=1, workloads=[web])),
        _aged(device("oslo-1", online, site="oslo", deployments=1, workloads=[sensor])),
        _aged(device("oslo-2", online, site="oslo", deployments=1, workloads=[sensor])),
        _aged(device("oslo-7", online, site="oslo", deployments=2, workloads=[web])),
        _aged(device("oslo-8", online, soaking, site="oslo", deployments=1, workloads=[sensor], info=upgrading)),
        deployments=(rollout, deployment("web", whole, matched=8, ready=8, updated=8)),
    )
    at = _NOW.timestamp()
    page.do(lambda: _outage(known.sources, at - 2400, at - 1800))
    page.do(lambda: setattr(known, "now", lambda: at - 720))
    told = {"sensor": DeviceState(4, Phase.RESTARTING, Reason.CRASH_LOOP, crash["message"])}
    page.do(
        lambda: known.update_states("oslo-7", gathered({"web": DeviceState(1, Phase.RUNNING, Reason.HEALTHY), **told}))
    )
    page.do(lambda: setattr(known, "now", lambda: at - 180))
    page.change("Device", _aged(device("berlin-7", silent, site="berlin", deployments=1, workloads=[web], version=3)))
    page.do(
        lambda: known.add_event(
            EventMessage(
                "Device", "oslo-7", "Warning", "CrashLoop", "sensor generation 4: Restarting; exit code 1", at - 720, 1
            )
        )
    )
    page.do(lambda: known.set_certificate_expiry(NATS, at + 12 * 86400))
    password = SecretAge("nats_app_pass", int(at) - 371 * 86400)
    page.do(lambda: setattr(known, "secret_ages", (password,)))
    strategy = "Rolling, at most 1 unavailable"
    sensor_revisions = (
        RevisionSummary(
            4, ago(13), "anna", "fleet deployment apply", "sensor:4", "site=oslo", strategy, ("devices", "image")
        ),
        RevisionSummary(3, ago(4000), "anna", "fleet deployment apply", "sensor:3", "site=oslo", strategy, ("image",)),
        RevisionSummary(1, ago(9000), "", "", "sensor:1", "site=oslo", strategy, ()),
    )
    page.do(lambda: known.set_revisions(RevisionsMessage("sensor", sensor_revisions)))
    page.do(lambda: setattr(known, "now", lambda: at))


def _outage(sources: Sources, since: float, until: float) -> None:
    """NATS does not answer from `since` to `until` (Unix seconds)."""
    clock = [since]
    vars(sources).update(_now=lambda: clock[0])
    sources.mark_available(NATS)
    sources.mark_unavailable(NATS, "the connection is lost")
    clock[0] = until
    sources.mark_available(NATS)


def _aged(item: Json) -> Json:
    item["metadata"]["creationTimestamp"] = ago(9000)
    return item


def picture(browser: Browser, page: RunningPage, path: str, file: Path, *, phone: bool = False) -> None:
    """One screen, as a whole."""
    context = browser.new_context(
        ignore_https_errors=True,
        viewport=_PHONE if phone else _DESK,  # type: ignore[arg-type]
        color_scheme="dark" if phone else "light",
        timezone_id="UTC",
        locale="en-GB",
        reduced_motion="reduce",
    )
    context.clock.set_fixed_time(_NOW)
    context.add_init_script(COUNTED_NEWS)
    sign_in(context, page)
    tab = context.new_page()
    go(tab, page.url + path)
    settled(tab)
    _shown(tab)
    tab.screenshot(path=file, full_page=True)
    context.close()


def _shown(tab: Page) -> None:
    if tab.locator("#body").count():
        expect(tab.locator("#count")).to_have_text("11 of 11 devices")
    expect(tab.locator("#live")).to_contain_text("last news 0 s ago")
    expect(tab.locator("main")).not_to_contain_text("just now")


def main(folder: Path) -> None:
    """Make them all."""
    with tempfile.TemporaryDirectory() as files, chromium() as browser:
        page = RunningPage(web_page(make_tls(Path(files))))
        try:
            show(page)
            picture(browser, page, "/", folder / "web-now.png")
            picture(browser, page, "/devices", folder / "web-devices.png")
            picture(browser, page, "/devices/oslo-7", folder / "web-device.png")
            picture(browser, page, "/deployments/sensor", folder / "web-deployment.png")
            picture(browser, page, "/tail", folder / "web-tail.png")
            picture(browser, page, "/", folder / "web-phone.png", phone=True)
        finally:
            page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
