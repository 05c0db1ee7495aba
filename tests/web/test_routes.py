"""What can be asked for at all, and what holds for every answer."""

from __future__ import annotations

import gzip
import re

import httpx
import pytest
from starlette.routing import Mount, Route

from fleet.contract.crd import device_crd
from fleet.web.guard import HEADERS
from fleet.web.routes import NOT_SIGNED_IN, STATIC
from fleet.web.views.row import Row
from tests.support.tls import Tls
from tests.support.web import OFFLINE, RunningPage, condition, deployment, device, web_page

SHOWN = {
    "/",
    "/devices",
    "/devices.json",
    "/devices/{name}",
    "/deployments",
    "/deployments/{name}",
    "/deployments/{name}/devices",
    "/tail",
    "/events/{kind}",
    "/events/{kind}/{name}",
}
OPEN = {"/sign-in", "/sign-in/qr.svg"}
BY_PAGE = {"/sign-in/provider", "/sign-in/return"}
POSTED = {"/sign-in/device", "/sign-in/check", "/sign-out"}
"""What signs somebody in or out, and touches nothing of the fleet."""


def routes(page: RunningPage) -> dict[str, set[str]]:
    app = page.parts.routes
    found = {one.path: set(one.methods or ()) for one in app.routes if isinstance(one, Route)}
    mounts = [one.path for one in app.routes if isinstance(one, Mount)]
    assert mounts == ["/static"]
    assert len(found) + len(mounts) == len(app.routes), "every route is of a kind that is looked at here"
    return found


def test_an_error_that_nobody_foresaw_has_the_headers_too(
    page: RunningPage, viewer: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page.parts.store, "summaries", None)
    answer = viewer.get("/devices.json")
    assert answer.status_code == 500
    assert "Next: Read why in the log of the operator&#39;s pod." in answer.text, "what it says leads to the reason"
    assert {name.lower() for name in HEADERS} <= set(answer.headers)
    assert answer.headers["cache-control"] == "no-store"


def test_no_answer_sends_anybody_to_the_host_that_a_request_claims(page: RunningPage, viewer: httpx.Client) -> None:
    answer = viewer.get("/devices/", headers={"host": "evil.example"}, follow_redirects=False)
    assert (answer.status_code, "location" in answer.headers) == (404, False)


def test_a_refusal_in_plain_text_shows_what_was_asked_as_what_it_is(page: RunningPage, viewer: httpx.Client) -> None:
    page.show()
    answer = viewer.get("/devices/%1b%5b31m%e2%80%ae%0d%0aforged", headers={"accept": "*/*"})
    assert answer.status_code == 404
    assert "there is no device \\x1b[31m\\u202e\\r\\nforged" in answer.text
    assert answer.text.removesuffix("\n").isprintable()


def test_who_asks_for_the_head_of_a_stream_takes_no_place(page: RunningPage, viewer: httpx.Client) -> None:
    answer = viewer.head("/events/now")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert page.do(lambda: page.parts.streams.open) == 0


@pytest.mark.parametrize("path", ["/devices/pi-9", "/deployments/none", "/events/device/pi-9"])
def test_before_kubernetes_was_read_nothing_is_said_to_be_missing(
    page: RunningPage, viewer: httpx.Client, path: str
) -> None:
    page.do(lambda: setattr(page.parts.store, "complete", False))
    answer = viewer.get(path)
    assert (answer.status_code, "has not been read yet" in answer.text) == (503, True)


@pytest.mark.parametrize("path", ["/nowhere", "/devices/pi-9", "/deployments/none", "/deployments/none/devices"])
def test_what_is_not_there_leads_on_and_shows_the_screens_to_who_is_signed_in(
    page: RunningPage, viewer: httpx.Client, path: str
) -> None:
    page.show()
    answer = viewer.get(path, headers={"accept": "text/html"})
    assert (answer.status_code, '<nav aria-label="Screens">' in answer.text) == (404, True)
    with httpx.Client(base_url=page.url, verify=False, headers={"accept": "text/html"}) as nobody:
        assert "<nav" not in nobody.get("/nowhere").text


def test_no_route_writes(page: RunningPage) -> None:
    found = routes(page)
    assert set(found) == SHOWN | OPEN | POSTED
    assert {path for path, methods in found.items() if methods != {"GET", "HEAD"}} == POSTED
    assert all(found[path] == {"POST"} for path in POSTED)


def test_the_providers_own_page_has_routes_only_where_it_is_configured(tls: Tls) -> None:
    running = RunningPage(web_page(tls, client_id="web-1"))
    try:
        assert set(routes(running)) == SHOWN | OPEN | POSTED | BY_PAGE
    finally:
        running.close()


def test_nothing_is_shown_to_who_is_not_signed_in(page: RunningPage) -> None:
    page.show(device("secret-device"))
    with httpx.Client(base_url=page.url, verify=False) as nobody:
        for path in sorted(SHOWN):
            asked = path.format(name="secret-device", kind="devices")
            by_script = nobody.get(asked, headers={"accept": "application/json"})
            assert (by_script.status_code, by_script.text) == (401, NOT_SIGNED_IN), path
            by_person = nobody.get(asked, headers={"accept": "text/html"})
            assert (by_person.status_code, by_person.headers["location"].partition("?")[0]) == (303, "/sign-in"), path


@pytest.mark.parametrize("path", ["/", "/devices", "/nowhere", "/static/live.js", "/sign-in", "/static/../start.py"])
def test_every_answer_is_guarded(viewer: httpx.Client, path: str) -> None:
    answer = viewer.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "'unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == ("no-cache" if path == "/static/live.js" else "no-store")
    assert "ApiToken" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_does_nothing(page: RunningPage, viewer: httpx.Client, headers: dict[str, str]) -> None:
    for path in sorted(POSTED):
        refused = viewer.post(path, headers=headers)
        assert refused.status_code == 403, path
        assert "open this page itself, and do it there" in refused.text
    assert viewer.get("/").status_code == 200, "still signed in"
    out = viewer.post("/sign-out", headers={"origin": page.url, "sec-fetch-site": "same-origin"})
    assert out.headers["location"] == "/sign-in"
    assert viewer.get("/").status_code == 303


def test_the_pages_load_nothing_from_elsewhere_and_hold_no_script(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1", OFFLINE), deployments=(deployment("web", condition("Ready", "False", "DevicesFailed")),))
    for path in ("/", "/devices", "/devices/pi-1", "/deployments", "/deployments/web", "/tail", "/sign-in"):
        text = viewer.get(path).text
        for source in re.findall(r"(?:src|href|action)=\"([^\"]*)\"", text):
            assert source.startswith(("/", "#")), source
        assert all(tag.endswith('src="') for tag in re.findall(r"<script[^>]*?src=\"|<script[^>]*>", text)), path
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), path


def test_the_columns_of_devices_are_those_of_kubectl(viewer: httpx.Client) -> None:
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", viewer.get("/devices").text)
    assert heads == [field.capitalize() for field in Row.__struct_fields__], "scripts take a row by its columns"
    columns = {column["name"] for column in device_crd()["spec"]["versions"][0]["additionalPrinterColumns"]}
    assert set(heads) - columns == {"Name", "Labels"}


def test_the_assets_are_small() -> None:
    files = [path for path in STATIC.iterdir() if path.is_file()]
    assert {path.suffix for path in files} <= {".css", ".js", ".svg"}
    compressed = sum(len(gzip.compress(path.read_bytes())) for path in files)
    assert compressed <= 20_000, "far below the 150 kB that a page may weigh"
