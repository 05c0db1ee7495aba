"""A deployment's screen: what it was before, as the operator hands it on, and the batch that is under way."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from fleet.web.messages import RevisionsMessage, RevisionSummary
from tests.support.web import Json, RunningPage, condition, deployment, device, workload

MADE = "2026-11-29T12:00:00Z"
FIRST = RevisionSummary(1, MADE, "", "", "web:1", "", "AllAtOnce", ())
SECOND = RevisionSummary(2, MADE, "anna", "fleet deployment apply", "web:2", "site=oslo", "AllAtOnce", ("env", "image"))
READY = condition("Ready", "True", "AllReady")


def shown(viewer: httpx.Client, section: str) -> str:
    """A section of the deployment's screen, as text."""
    text = viewer.get("/deployments/web").text
    found = re.search(rf'<section aria-labelledby="{section}">(.*?)</section>', text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found[1])).split()) if found else ""


def test_revisions_are_shown_the_newest_first_with_who_made_them_and_what_they_changed(
    page: RunningPage, viewer: httpx.Client
) -> None:
    page.show(device("pi-1"), deployments=(deployment("web", READY),))
    assert shown(viewer, "h-revisions") == ""
    assert "rollback" not in viewer.get("/deployments/web").text, "there is nothing to go back to"
    page.do(lambda: page.parts.store.set_revisions(RevisionsMessage("web", (SECOND, FIRST))))
    text = shown(viewer, "h-revisions")
    assert f"2 now {MADE} anna with fleet deployment apply env, image web:2 site=oslo; AllAtOnce" in text
    first = f"1 {MADE} another tool than fleet \N{EN DASH} web:1 every device; AllAtOnce"
    assert text.index("web:2") < text.index(first)
    assert 'data-copy="fleet deployment rollback web --dry-run"' in viewer.get("/deployments/web").text
    page.do(lambda: page.parts.store.set_revisions(RevisionsMessage("web", ())))
    assert shown(viewer, "h-revisions") == "", "they are gone"


def test_markup_and_escapes_in_a_revision_are_text(page: RunningPage, viewer: httpx.Client) -> None:
    evil = "<script>alert(1)</script>\x1b[31m"
    wicked = RevisionSummary(1, MADE, evil, evil, evil, evil, "AllAtOnce", (evil,))
    page.show(deployments=(deployment("web", READY),))
    page.do(lambda: page.parts.store.set_revisions(RevisionsMessage("web", (wicked,))))
    text = viewer.get("/deployments/web").text
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;") >= 5


def rolling(size: int, /, kind: str = "Rolling", **counts: Any) -> Json:  # noqa: ANN401
    item = deployment("web", condition("Ready", "False", "InProgress"), **counts)
    item["spec"] |= {"selector": {}, "strategy": {"type": kind, "maxUnavailable": size}}
    return item


@pytest.mark.parametrize(
    ("size", "counts", "said"),
    [
        (
            2,
            {"matched": 9, "updated": 4, "ready": 3},
            "now: 1 of at most 2. Done: 3. Still to come: 5, in 3 more batches.",
        ),
        (
            2,
            {"matched": 9, "updated": 4, "ready": 2},
            "now: 2 of at most 2. Done: 2. Still to come: 5, in 3 more batches.",
        ),
        (
            1,
            {"matched": 2, "updated": 1, "ready": 1},
            "now: 0 of at most 1. Done: 1. Still to come: 1, in 1 more batch.",
        ),
        (1, {"matched": 2, "updated": 2, "ready": 1}, "now: 1 of at most 1. Done: 1. Still to come: 0."),
    ],
)
def test_the_batch_that_is_under_way(
    page: RunningPage, viewer: httpx.Client, size: int, counts: Json, said: str
) -> None:
    page.show(device("pi-1"), deployments=(rolling(size, **counts),))
    assert said in shown(viewer, "h-batch")


def test_who_holds_the_batch_up_is_named(page: RunningPage, viewer: httpx.Client) -> None:
    page.show(
        device("pi-1", workloads=[workload("web", "Running", "Healthy")]),
        device("pi-2", workloads=[workload("web", "Restarting", "CrashLoop")]),
        device("pi-3", workloads=[workload("web", "Running", "Healthy", generation=0)]),
        deployments=(rolling(2, matched=3, updated=2, ready=1),),
    )
    assert "Changing now: 1 of at most 2 ( pi-2 ). Done: 1." in shown(viewer, "h-batch")


@pytest.mark.parametrize("reason", ["Halted", "Paused"])
def test_a_batch_that_does_not_go_on_is_not_said_to(page: RunningPage, viewer: httpx.Client, reason: str) -> None:
    item = rolling(1, matched=3, updated=1, ready=0, failed=1)
    item["status"]["conditions"].append(condition("Progressing", "False", reason))
    page.show(device("pi-1", workloads=[workload("web", "Restarting", "CrashLoop")]), deployments=(item,))
    said = f"Batch {reason}: no further device is changed Not ready: 1 of at most 1 ( pi-1 ). Done: 0."
    assert shown(viewer, "h-batch").startswith(said)


@pytest.mark.parametrize(
    "item",
    [
        rolling(1, "AllAtOnce", matched=9, updated=9, ready=3),
        rolling(1, matched=2, updated=2, ready=2),
        rolling(1, matched=2, updated=1, ready=1, observedGeneration=0),
    ],
    ids=["all at once", "all is done", "counts of an earlier change"],
)
def test_without_a_batch_under_way_none_is_shown(page: RunningPage, viewer: httpx.Client, item: Json) -> None:
    page.show(device("pi-1"), deployments=(item,))
    assert shown(viewer, "h-batch") == ""
