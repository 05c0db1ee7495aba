"""Which revisions of deployments are kept, and which go."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from fleet.contract.change import APPLIED, Change, noted
from fleet.contract.objects import DeploymentSpec, FleetDeployment, Metadata
from fleet.contract.revision import KEPT, RESTARTED, Revision, parse_revision, revision_of, runs_same, same_revision
from fleet.contract.selector import Selector
from fleet.contract.wire import Container
from fleet.operator.reconcile.revisions import by_name, missing, surplus


def web(generation: int, image: str = "web:1", *, uid: str = "uid-of-web", **more: Any) -> FleetDeployment:  # noqa: ANN401
    meta = Metadata("web", "fleet", uid, "1", generation)
    return FleetDeployment(meta, DeploymentSpec(Container(image), **more))


def kept(*deployments: FleetDeployment) -> list[Revision]:
    return [parse_revision(json.dumps(revision_of(one)).encode()) for one in deployments]


def test_a_revision_keeps_the_whole_and_who_ordered_it() -> None:
    change = Change("7f3a9c2e41d0", 3, "fleet deployment apply", "alice")
    item = web(3, selector=Selector({"site": "lab"}))
    said = msgspec.structs.replace(item.metadata, annotations={APPLIED: change.annotation})
    (one,) = kept(msgspec.structs.replace(item, metadata=said))
    assert (one.revision, one.deployment, one.owner, one.spec) == (3, "web", "uid-of-web", item.spec)
    assert noted(one.metadata.annotations, one.revision) == change


def test_what_changes_nothing_of_what_runs_where_is_no_revision() -> None:
    known = kept(web(1))
    restarted = Container("web:1", labels={RESTARTED: "2026-11-29T10:00:00+00:00"})
    assert not missing(web(2, paused=True), known)
    assert not missing(FleetDeployment(web(3).metadata, DeploymentSpec(restarted)), known)
    assert missing(web(2, "web:2"), known)
    elsewhere = web(2, selector=Selector({"site": "lab"}))
    assert missing(elsewhere, known), "it runs elsewhere"
    assert not same_revision(elsewhere.spec, known[0].spec)
    assert runs_same(elsewhere.spec, known[0].spec)


def test_what_comes_back_is_a_revision_again() -> None:
    known = kept(web(1), web(2, "web:2"))
    assert missing(web(3, "web:1"), known)


def test_of_two_deployments_that_had_one_name_only_the_present_ones_stay() -> None:
    former = kept(*(web(number, f"web:{number}", uid="gone") for number in range(1, 4)))
    own = kept(web(1))
    assert missing(web(1), former)
    assert surplus(web(1), [*former, *own]) == former


def test_the_oldest_go_beyond_the_bound() -> None:
    known = kept(*(web(number, f"web:{number}") for number in range(1, KEPT + 4)))
    assert surplus(web(KEPT + 3, f"web:{KEPT + 3}"), known[::-1]) == known[:3][::-1]


def test_what_is_deleted_leaves_none_and_what_cannot_be_read_keeps_its_own() -> None:
    known = kept(web(1), web(2, "web:2"))
    deleted = msgspec.structs.replace(web(2).metadata, deletion_timestamp="2026-11-29T10:00:00Z")
    assert surplus(FleetDeployment(deleted, web(2).spec), known) == known
    assert not missing(FleetDeployment(deleted, web(2, "web:3").spec), known)
    assert surplus(None, known) == known
    assert surplus(None, known, unread={"web"}) == []


def test_revisions_stand_by_the_name_of_their_deployment() -> None:
    known = kept(web(1), web(2))
    assert by_name(known) == {"web": known}
