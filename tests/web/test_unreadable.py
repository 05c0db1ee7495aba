"""Objects that do not parse: shown by name with the reason, and gone when they are deleted."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from tests.support.web import NOW, Json, RunningPage, condition, deployment, device

READY = condition("Ready", "True", "AllReady")


def text(viewer: httpx.Client, path: str) -> str:
    """What a person reads there."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", viewer.get(path).text)).split())


def broken(name: str, kind: str) -> Json:
    """An object whose spec is none, and which holds a secret."""
    if kind == "Device":
        return {**device(name, version=2), "spec": {"subject": 5, "note": "canary-note"}}
    item = deployment(name, READY, version=2)
    item["spec"] |= {"selector": {"matchLabels": 7}}
    return item


def good(name: str, kind: str) -> Json:
    return device(name) if kind == "Device" else deployment(name, READY)


def show(page: RunningPage, kind: str, *items: Json) -> None:
    page.show(*items) if kind == "Device" else page.show(deployments=items)


KINDS = pytest.mark.parametrize(("kind", "screen"), [("Device", "/devices"), ("FleetDeployment", "/deployments")])


@KINDS
def test_an_object_that_does_not_parse_is_shown_by_name_with_the_reason(
    page: RunningPage, viewer: httpx.Client, kind: str, screen: str
) -> None:
    show(page, kind, good("good", kind), broken("bad", kind))
    for path in ("/", f"{screen}/bad"):
        shown = text(viewer, path)
        assert "InvalidSpec" in shown, path
        assert re.search(r"cannot be read: .*\$\.spec\.", shown), path
        assert "canary" not in viewer.get(path).text, path
    assert f"{screen}/bad" in viewer.get("/").text
    assert "kubectl describe" in text(viewer, f"{screen}/bad")
    assert viewer.get(f"{screen}/good").status_code == 200
    if kind == "Device":
        rows = {row[0]: row for row in viewer.get("/devices.json").json()["rows"]}
        assert rows["bad"][1:3] == ["unknown", "cannot be read"]
        assert rows["bad"][6] == "InvalidSpec"
    else:
        assert re.search(r"bad cannot be read .*\$\.spec\.selector", text(viewer, screen))


@KINDS
def test_one_that_becomes_unreadable_is_not_shown_as_it_was(
    page: RunningPage, viewer: httpx.Client, kind: str, screen: str
) -> None:
    show(page, kind, good("web", kind))
    page.change(kind, broken("web", kind))
    assert "cannot be read" in text(viewer, f"{screen}/web")
    assert "registry.example.org" not in text(viewer, screen)
    shown = text(viewer, "/")
    assert "cannot be read: not a valid" in shown[shown.index("What changed last") :]
    page.change(kind, good("web", kind))
    assert "cannot be read" not in text(viewer, f"{screen}/web").split("What happened")[0]
    assert "InvalidSpec" not in text(viewer, "/")
    if kind == "Device":
        assert page.do(lambda: page.parts.store.online) == 1


@KINDS
@pytest.mark.parametrize("was", ["broken", "good"])
def test_one_that_is_deleted_goes_whether_or_not_it_parses(
    page: RunningPage, viewer: httpx.Client, kind: str, screen: str, was: str
) -> None:
    show(page, kind, broken("web", kind) if was == "broken" else good("web", kind))
    page.change(kind, broken("web", kind), deleted=True)
    assert viewer.get(f"{screen}/web").status_code == 404
    assert "InvalidSpec" not in text(viewer, "/")
    assert page.do(lambda: len(page.parts.store.summaries)) == 0
    assert page.do(lambda: page.parts.store.online) == 0


@KINDS
def test_one_that_a_later_list_does_not_have_goes(
    page: RunningPage, viewer: httpx.Client, kind: str, screen: str
) -> None:
    show(page, kind, broken("bad", kind))
    show(page, kind, good("good", kind))
    assert viewer.get(f"{screen}/bad").status_code == 404


def test_one_without_a_name_costs_none_of_the_others(page: RunningPage, viewer: httpx.Client) -> None:
    page.show({"metadata": {}}, {"metadata": {"name": 5}}, device("pi-1"))
    page.change("Device", {"metadata": {}}, deleted=True)
    assert [row[0] for row in viewer.get("/devices.json").json()["rows"]] == ["pi-1"]


def test_an_open_screen_follows(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(device("pi-1"))
    with viewer.stream("GET", "/events/device/pi-1") as stream:
        seen = ""
        parts = stream.iter_text()
        while "pi-1" not in seen:
            seen += next(parts)
        page.change("Device", broken("pi-1", "Device"))
        while "cannot be read" not in seen:
            seen += next(parts)


def test_a_name_that_no_command_takes_is_text(page: RunningPage, viewer: httpx.Client) -> None:
    item = deployment("web", READY)
    item["metadata"] |= {"name": "x'; rm -rf /\x1b[31m<b>", "creationTimestamp": NOW}
    page.show(deployments=(item,))
    for path in ("/", "/deployments"):
        shown = viewer.get(path).text
        assert "\x1b" not in shown
        assert "<b>" not in shown.replace("<b>0</b>", "").replace("<b>1</b>", "")
