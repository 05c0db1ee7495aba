"""What the screens show of a world in which something is wrong, and what they never show."""

from __future__ import annotations

import html
import re
import time

import httpx
import msgspec
import pytest

from fleet.contract.phases import ContainerState
from fleet.contract.states import DeviceStates, gathered
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.web.messages import Standing
from fleet.web.source import CALLOUT, KUBERNETES, NATS, PROVIDER
from fleet.web.views.row import Row
from tests.support.web import INFO, OFFLINE, ONLINE, RunningPage, condition, deployment, device, workload

FAILED = condition("Ready", "False", "DevicesFailed", "pi-3: CrashLoop")


@pytest.fixture
def trouble(page: RunningPage) -> RunningPage:
    """A fleet in which a device is away, one crashes, and one is well."""
    page.show(
        device("pi-1", site="berlin"),
        device("pi-2", OFFLINE, site="berlin"),
        device("pi-3", site="oslo", deployments=1, workloads=[workload("web", "Restarting", "CrashLoop", "exit 1")]),
        deployments=(deployment("web", FAILED, failed=1),),
    )
    return page


def test_the_first_screen_says_what_is_wrong_and_what_to_do(trouble: RunningPage, viewer: httpx.Client) -> None:
    text = html.unescape(viewer.get("/").text)
    assert "<b>3</b> devices" in text
    assert "<b>2</b> in trouble" in text
    for said in (
        "HeartbeatMissed",
        "at berlin",
        "CrashLoop",
        "at oslo",
        "It exits again and again. Next: Read its log.",
        "exit 1",
    ):
        assert said in text
    assert "2026-11-29T11:58:00Z" in text, "since when"
    assert 'data-copy="fleet device logs pi-3 --deployment web"' in text, "the command that helps"
    assert 'data-copy="fleet device show pi-2"' in text
    assert "pi-1" not in text, "what is well is not in the way"
    assert "DevicesFailed" in text
    assert "Nothing is wrong" not in text
    trouble.show(device("pi-1"))
    assert "Nothing is wrong" in viewer.get("/").text


def test_troubles_are_grouped_the_newest_first(page: RunningPage, viewer: httpx.Client) -> None:
    older = condition("Online", "False", "HeartbeatMissed", since="2026-11-29T10:00:00Z")
    newer = condition("Online", "False", "NeverSeen", since="2026-11-29T11:00:00Z")
    page.show(*(device(f"a-{n:02}", older, site="x") for n in range(20)), device("b-1", newer, site="x"))
    text = viewer.get("/").text
    assert text.index("NeverSeen") < text.index("HeartbeatMissed")
    assert "and 8 more" in text, "a group names a dozen"


def test_a_group_offers_a_command_for_each_device_or_one_that_is_for_all(
    page: RunningPage, viewer: httpx.Client
) -> None:
    crashes = [workload(name, "Restarting", "CrashLoop") for name in ("web", "cron")]
    unknown = condition("Online", "Unknown", "NatsSilent")
    page.show(
        device("pi-1", workloads=crashes[:1]),
        device("pi-2", workloads=crashes),
        device("pi-3", unknown),
        device("pi-4", unknown),
    )
    offered = re.findall(r'data-copy="([^"]+)"', viewer.get("/").text)
    assert sorted(offered) == [
        "fleet device logs pi-1 --deployment web",
        "fleet device logs pi-2 --deployment cron",
        "fleet device logs pi-2 --deployment web",
        "fleet server status",
    ]


def test_the_list_says_since_when_what_is_wrong_is_so(page: RunningPage, viewer: httpx.Client) -> None:
    """Not since when the device is online, unless nothing is wrong."""
    crash = {**workload("web", "Restarting", "CrashLoop"), "since": "2026-11-29T12:30:00Z"}
    page.show(device("pi-1"), device("pi-2", workloads=[crash]), device("pi-3", OFFLINE, workloads=[crash]))
    rows = [Row(*row) for row in viewer.get("/devices.json").json()["rows"]]
    assert [(row.trouble, row.since) for row in rows] == [
        ("", "2026-11-29T12:00:00Z"),
        ("CrashLoop", "2026-11-29T12:30:00Z"),
        ("HeartbeatMissed, CrashLoop", "2026-11-29T11:58:00Z"),
    ]


def test_a_device_shows_its_reasons_and_the_exact_commands(trouble: RunningPage, viewer: httpx.Client) -> None:
    text = html.unescape(viewer.get("/devices/pi-3").text)
    for said in (
        "CrashLoop",
        "workload web",
        "exit 1",
        "fleet device show pi-3",
        "fleet device logs pi-3 --deployment web",
        "Debian 12",
        "podman 4.3",
    ):
        assert said in text
    assert "kubectl describe devices.fleet.nationtech.io pi-3 -n fleet-system" in text
    none = viewer.get("/devices/none")
    assert (none.status_code, '<a href="/devices">All devices</a>' in none.text) == (404, True)
    trouble.show(device("pi-4", condition("Quarantined", "True", "Flooding"), ONLINE))
    assert "fleet device release pi-4" in viewer.get("/devices/pi-4").text


def test_a_device_shows_its_volumes(page: RunningPage, viewer: httpx.Client) -> None:
    """Whose they are, how large, and in how many containers; names that a device makes up are text."""
    volumes = [
        {"name": "data", "deployment": "web", "size": 2**21, "id": "5f", "containers": 2},
        {"name": "<b>old", "deployment": "gone", "former": "pi-0@0123456789abcdef"},
    ]
    used = {"free": 2**30, "floor": 2**28, "namedVolumes": volumes}
    page.show(device("pi-1", info={**INFO, "diskUsage": used}), device("pi-2"))
    text = viewer.get("/devices/pi-1").text
    rows = re.findall(r"<tr>(.*?)</tr>", text.partition('id="h-volumes"')[2].partition("</section>")[0], re.DOTALL)
    cells = [[html.unescape(one) for one in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows[1:]]
    assert cells == [
        ["data", "web", "2.0 MiB", "2", "\u2013"],
        ["<b>old", "gone", "0.0 MiB", "\u2013", "pi-0@0123456789abcdef"],
    ]
    assert "<b>old" not in text
    assert 'id="h-volumes"' not in viewer.get("/devices/pi-2").text


def test_a_pod_has_a_row_for_each_container(page: RunningPage, viewer: httpx.Client) -> None:
    """As `fleet device show` has; what the device says over NATS counts as soon as it is heard."""
    parts = ({"name": "db", "phase": "Running", "reason": "Healthy"}, {"name": "<b>", "phase": "Failed", "reason": "X"})
    page.show(device("pi-1", workloads=[{**workload("shop", "Failed", "Exited"), "containers": parts}]))
    assert container_rows(viewer) == [["container db", "Running", "Healthy"], ["container <b>", "Failed", "X"]]
    db = ContainerState("db", Phase.FAILED, Reason.IMAGE_NOT_FOUND)
    said = gathered({"shop": DeviceState(1, Phase.FAILED, Reason.EXITED, containers=(db,))})
    page.do(lambda: page.parts.store.update_states("pi-1", said))
    assert container_rows(viewer) == [["container db", "Failed", "ImageNotFound"]]
    full = {**workload("shop", "Failed", "Exited"), "generation": 1}
    page.change("Device", device("pi-1", version=2, workloads=[full]))
    assert container_rows(viewer) == [["container db", "Failed", "ImageNotFound"]], "a status has no room for many"


def container_rows(viewer: httpx.Client) -> list[list[str]]:
    """The cells of the rows of containers that say something."""
    rows = re.findall(r'<tr class="part">(.*?)</tr>', viewer.get("/devices/pi-1").text)
    texts = [[re.sub(r"<[^>]+>", "", one) for one in re.findall(r"<td>(.*?)</td>", row)] for row in rows]
    return [[html.unescape(one) for one in cells if one] for cells in texts]


def test_a_deployment_shows_its_devices_by_state(trouble: RunningPage, viewer: httpx.Client) -> None:
    item = deployment("web", FAILED)
    item["spec"]["selector"] = {}
    trouble.show(device("pi-1"), device("pi-3", workloads=[workload("web", "Failed", "Exited")]), deployments=(item,))
    text = viewer.get("/deployments/web").text
    assert text.index("Failed <span") < text.index("Pending <span")
    assert "Rolling, at most 1 unavailable" in text
    first = re.search(r'data-copy="([^"]+)"', text)
    assert first is not None
    assert first[1] == "fleet device logs pi-3 --deployment web", "the log says why it fails"
    listed = viewer.get("/deployments").text
    assert "DevicesFailed" in listed
    item["metadata"]["generation"] = 2
    trouble.change("FleetDeployment", item)
    assert "NotYetSeen" in viewer.get("/deployments").text, "counts of an earlier generation are no news of this one"


def test_what_a_device_says_over_nats_is_shown_before_kubernetes_knows(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1", deployments=1, workloads=[workload("web", "Running", "Healthy")]))
    said = gathered({"web": DeviceState(1, Phase.FAILED, Reason.PORT_IN_USE, "8080 is taken")})
    page.do(lambda: page.parts.store.update_states("pi-1", said))
    assert "<h3>PortInUse" in viewer.get("/").text
    assert "8080 is taken" in viewer.get("/devices/pi-1").text
    page.change("Device", device("pi-1", version=2, workloads=[workload("web", "Running", "Healthy")]))
    assert "<h3>PortInUse" in viewer.get("/").text, "Kubernetes' word may be older"
    page.do(page.parts.store.discard_reports)
    assert "<h3>PortInUse" not in viewer.get("/").text, "after an outage of NATS, Kubernetes' word is the newest"


def test_an_unreadable_report_costs_nothing_else(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"))
    mixed = DeviceStates({"web": msgspec.Raw(b'{"phase":"Odd"}'), "Not A Name": msgspec.Raw(b"{}")})
    page.do(lambda: page.parts.store.update_states("pi-1", mixed))
    page.do(lambda: page.parts.store.add_invalid_message("device-info", "x" * 200, "y" * 1_000_000))
    page.do(lambda: page.parts.store.apply_change("Device", b'{"metadata":{"name":"NOT A NAME"}}', deleted=False))
    text = viewer.get("/").text
    assert "(1000016 characters)" in text
    assert len(text) < 20_000
    assert viewer.get("/devices/pi-1").status_code == 200


@pytest.mark.parametrize("source", [KUBERNETES, NATS, PROVIDER])
def test_a_part_that_is_away_is_named_and_what_is_known_stays(
    trouble: RunningPage, viewer: httpx.Client, source: str
) -> None:
    trouble.do(lambda: trouble.parts.store.sources.mark_unavailable(source, "it does not answer"))
    text = viewer.get("/").text
    assert f"<h3>{source} <small>does not answer</small></h3>" in text
    assert "HeartbeatMissed" in text
    trouble.do(lambda: trouble.parts.store.sources.mark_available(source))
    assert f"<h3>{source} " not in viewer.get("/").text


def test_a_part_that_answers_and_is_not_ready_is_shown_with_its_reason(
    trouble: RunningPage, viewer: httpx.Client
) -> None:
    """It has answered, so nothing of what is shown is older than it seems; and the command is that for the server."""
    trouble.do(lambda: trouble.parts.store.sources.mark_unavailable(CALLOUT, "no <keys>", Standing.UNREADY))
    text = viewer.get("/").text
    assert (
        '<h3>callout <small>is not ready</small></h3><p class="text">no &lt;keys&gt;</p><p>It has not been ready'
        in text
    )
    assert ("It has not answered" in text, "as it was known before" in text) == (False, False)
    assert "fleet server status" in text.replace("</span> <span>", " ")


def test_before_everything_was_listed_nothing_is_called_well(page: RunningPage, viewer: httpx.Client) -> None:
    text = viewer.get("/").text
    assert "Loading" in text
    assert "Nothing is wrong" not in text


def test_no_secret_reaches_any_page(trouble: RunningPage, viewer: httpx.Client) -> None:
    with_secret = device("pi-1")
    with_secret["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "canary-device"}
    trouble.show(with_secret, deployments=(deployment("web", FAILED),))
    trouble.change("FleetDeployment", deployment("web", FAILED, version=2))
    for path in ("/", "/devices", "/devices.json", "/devices/pi-1", "/deployments", "/deployments/web", "/tail"):
        text = viewer.get(path).text
        assert "canary" not in text, path
        assert "subject-of" not in text, path
    kept = trouble.do(lambda: repr(trouble.parts.store.deployments))
    assert "canary" not in kept, "it is not even kept"


def test_markup_and_escapes_are_shown_as_text(page: RunningPage, viewer: httpx.Client) -> None:
    evil = "<script>alert(1)</script>\x1b[31m\u202e\"'><img src=x onerror=alert(2)>"
    wicked = device("pi-1", condition("Online", "False", "HeartbeatMissed", evil), site="s")
    wicked["metadata"]["labels"]["site"] = "<b>x</b>"
    wicked["status"]["info"] = {**wicked["status"]["info"], "os": evil, "engine": evil}
    wicked["status"]["workloads"] = [workload("web", "Failed", "Exited", evil)]
    page.show(wicked, deployments=(deployment("web", condition("Ready", "False", "DevicesFailed", evil)),))
    page.do(lambda: page.parts.store.add_invalid_message("device-info", evil, evil))
    for path in ("/", "/devices/pi-1", "/deployments", "/deployments/web"):
        text = viewer.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "<b>x</b>" not in text, path
        assert "\x1b" not in text, path
        assert "\u202e" not in text, path
    assert "&lt;script&gt;" in viewer.get("/").text


def test_a_certificate_that_ends_soon_is_due_and_one_that_lasts_is_not(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"))
    known, day = page.parts.store, 86_400.0
    page.do(lambda: known.set_certificate_expiry(NATS, time.time() + 40 * day))
    assert "Nothing is wrong" in viewer.get("/").text
    page.do(lambda: known.set_certificate_expiry(NATS, time.time() + 29 * day))
    page.do(lambda: known.set_certificate_expiry(PROVIDER, time.time() - day))
    text = viewer.get("/").text
    assert "Nothing is wrong" not in text
    assert "Certificates and keys due" in text
    assert text.index(f"<h3>{PROVIDER} <small>") < text.index(f"<h3>{NATS} <small>"), "the first to end first"
    assert text.count("It ended") == 1
    assert "fleet secrets rotate nats_tls_key" in text


def test_what_happened_before_the_page_was_there_is_told_by_the_status(page: RunningPage, viewer: httpx.Client) -> None:
    crash = workload("web", "Failed", "Exited", "code 1")
    page.show(device("pi-1", OFFLINE, workloads=[crash, {**crash, "name": "odd", "since": "at noon"}]))
    assert "As they were when the device was last heard." in viewer.get("/devices/pi-1").text
    page.change("Device", device("pi-1", ONLINE, version=2, workloads=[crash]))
    assert "last heard" not in viewer.get("/devices/pi-1").text
    past = viewer.get("/devices/pi-1").text.partition("What happened")[2]
    told = ["Online True (HeartbeatReceived)", "web Failed (Exited) generation 1 code 1", "created"]
    assert all(words in past for words in told)
    assert past.index(told[0]) < past.index(told[1]), "what was seen just now stands first"
    assert past.count("Online ") == 1, "and is not told twice"


def test_a_deployment_shows_which_generation_runs_where(page: RunningPage, viewer: httpx.Client) -> None:
    old, new = workload("web", "Running", "Healthy"), workload("web", "Failed", "Exited", generation=2)
    item = deployment("web", FAILED)
    item["metadata"]["generation"] = 3
    page.show(
        device("pi-1", workloads=[{**old, "image": "sha256:old"}]),
        device("pi-2", workloads=[new]),
        device("pi-3", workloads=[{**new, "phase": "Running"}]),
        deployments=(item,),
    )
    shown = viewer.get("/deployments/web").text.partition("Generations on devices")[2].partition("</section>")[0]
    nothing = "\N{EN DASH}"
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in shown.split("<tr>")[2:]]
    assert rows == [
        ["3", "wanted", "0", nothing, nothing],
        ["2", "2", "1", "Failed,", "1", "Running", "sha256:abc"],
        ["1", "1", "1", "Running", "sha256:old"],
    ]


def test_what_a_group_does_not_name_is_one_step_away(page: RunningPage, viewer: httpx.Client) -> None:
    """The list is filtered by the reason and by the site: as many devices at another site are no answer."""
    page.show(*(device(f"{site}-{n:02}", OFFLINE, site=site) for site in ("x", "y") for n in range(20)))
    text = viewer.get("/").text
    assert 'href="/devices?q=%22HeartbeatMissed%22%20%22site%3Dx%22&amp;show=trouble">and 8 more' in text
    assert 'href="/devices?q=%22HeartbeatMissed%22%20%22site%3Dy%22&amp;show=trouble">and 8 more' in text
