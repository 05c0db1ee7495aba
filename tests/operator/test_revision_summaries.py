"""What the page is told of revisions: what ran before and what differed, and nothing that can hold a secret."""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.change import APPLIED, Change
from fleet.contract.revision import Revision, parse_revision
from fleet.operator.revision_summaries import revision_summaries
from fleet.web.messages import RevisionSummary

Json = dict[str, Any]
SECRET = {
    "command": ["run", "canary-command"],
    "args": ["canary-argument"],
    "env": {"CANARY_NAME": "canary-value"},
    "files": [{"path": "/etc/app.conf", "content": "canary-file"}],
    "health": {"command": ["check", "canary-health"]},
    "labels": {"canary.example/label": "canary-label"},
}


def revision(number: int, workload: Json, change: Change | None = None, **spec: object) -> Revision:
    item = {
        "metadata": {
            "name": f"web-{number}",
            "creationTimestamp": "2026-11-29T12:00:00Z",
            "annotations": {APPLIED: change.annotation} if change else {},
        },
        "revision": number,
        "data": {"spec": {"workload": {"type": "container", **workload}, **spec}},
    }
    return parse_revision(msgspec.json.encode(item))


def test_nothing_that_can_hold_a_secret_is_handed_on() -> None:
    told = revision_summaries([revision(1, {"image": "web:1", **SECRET}), revision(2, {"image": "web:2"})])
    assert b"canary" not in msgspec.json.encode(told).lower()
    assert told[0].changed == ("args", "command", "env", "files", "health", "image", "labels")


def test_a_revision_says_what_it_was_who_made_it_and_how_it_spread() -> None:
    change = Change(id="a1b2", generation=4, command="fleet deployment apply", by="anna")
    selector = {"matchLabels": {"site": "oslo"}}
    strategy = {"type": "Rolling", "maxUnavailable": 2}
    told = revision_summaries(
        [
            revision(4, {"image": "web:2"}, change, selector=selector, strategy=strategy),
            revision(1, {"image": "web:1"}, msgspec.structs.replace(change, generation=9)),
        ]
    )
    made = "2026-11-29T12:00:00Z"
    assert told == (
        RevisionSummary(
            4,
            made,
            "anna",
            "fleet deployment apply",
            "web:2",
            "site=oslo",
            "Rolling, at most 2 unavailable",
            ("image", "selector", "strategy"),
        ),
        RevisionSummary(1, made, "", "", "web:1", "", "AllAtOnce", ()),
    ), "the newest first; an annotation of another generation names nobody"


def test_of_a_pod_the_container_is_named_whose_field_differs() -> None:
    def pod(image: str, *more: Json) -> Json:
        return {"type": "pod", "containers": [{"name": "app", "image": image}, {"name": "db", "image": "db:1"}, *more]}

    extra = {"name": "log", "image": "log:1", "env": {"PASSWORD": "canary"}}
    told = revision_summaries([revision(1, pod("app:1")), revision(2, pod("app:2")), revision(3, pod("app:2", extra))])
    assert [one.changed for one in told] == [("log: env", "log: image", "log: name"), ("app: image",), ()]
    assert told[0].images == "app:2, db:1, log:1"


def test_only_so_many_fields_are_named() -> None:
    def pod(image: str) -> Json:
        return {"type": "pod", "containers": [{"name": f"c{n}", "image": image} for n in range(16)]}

    first = {"image": "a:1", **SECRET}
    told = revision_summaries([revision(1, first), revision(2, pod("b:1"))])
    assert len(told[0].changed) == 20


def test_a_selector_of_a_quarter_of_a_million_characters_is_shortened() -> None:
    """The page takes a line of a megabyte, and a deployment has ten revisions."""
    wide = [{"key": f"k{key}", "operator": "In", "values": [f"{n:063}" for n in range(64)]} for key in range(64)]
    told = revision_summaries([revision(1, {"image": "web:1"}, selector={"matchExpressions": wide})])
    assert told[0].selector.startswith("k0 in ")
    assert len(told[0].selector) < 2_000
