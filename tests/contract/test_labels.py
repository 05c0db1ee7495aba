"""A device has the labels of its metadata, and what its spec said anew since they were carried over (decision 037)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.contract.errors import InvalidInput
from fleet.contract.labels import CARRIED, carried_over, labels_of, relabelled
from fleet.contract.objects import Device, DeviceSpec, Metadata
from fleet.contract.selector import Operator, Requirement, Selector, parse_selector
from fleet.contract.wire import from_builtins
from tests.operator.model import relabelled_as

Labels = dict[str, str]


def device(held: Labels, said: Labels, carried: str | None) -> Device:
    annotations = {} if carried is None else {CARRIED: carried}
    return Device(Metadata("pi-1", labels=held, annotations=annotations), DeviceSpec(labels=said))


@pytest.mark.parametrize(
    ("held", "said", "carried", "labels"),
    [
        ({"a": "1"}, {}, None, {"a": "1"}),
        ({}, {"a": "1"}, None, {"a": "1"}),
        ({"a": "2"}, {"a": "1", "b": "1"}, None, {"a": "2", "b": "1"}),
        ({"a": "2"}, {"a": "1"}, '{"a":"1"}', {"a": "2"}),
        ({}, {"a": "1"}, '{"a":"1"}', {}),
        ({"a": "1"}, {"a": "2"}, '{"a":"1"}', {"a": "2"}),
        ({"a": "1"}, {"a": "2"}, "{}", {"a": "2"}),
        ({"a": "1", "b": "1"}, {}, '{"a":"1"}', {"b": "1"}),
        ({"a": "2"}, {}, '{"a":"1"}', {"a": "2"}),
        ({"a": "2"}, {"a": "1"}, "[damaged", {"a": "2"}),
    ],
    ids=[
        "of the metadata",
        "of a former release",
        "the metadata wins before anything was carried over",
        "changed in the metadata",
        "taken away in the metadata",
        "changed in the spec",
        "new in the spec",
        "taken away in the spec",
        "taken away in the spec after a change in the metadata",
        "an annotation that somebody damaged",
    ],
)
def test_what_was_said_last_counts(held: Labels, said: Labels, carried: str | None, labels: Labels) -> None:
    before = device(held, said, carried)
    assert labels_of(before) == labels
    change = carried_over(before)
    after = relabelled_as(before, change) if change else before
    assert after.metadata.labels == labels_of(after) == labels, "what selects it is what kubectl selects it by"
    assert not carried_over(after), "once"


def test_a_device_of_this_release_is_left_alone() -> None:
    assert carried_over(device({"a": "1"}, {}, None)) == {}
    assert carried_over(device({"a": "1"}, {}, "{}")) == {}


_SOME = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"))


@given(_SOME, _SOME, st.none() | _SOME.map(lambda some: str(some).replace("'", '"')), _SOME)
def test_labels_that_an_admin_sets_stay_until_somebody_says_something_else(
    held: Labels, said: Labels, carried: str | None, wanted: Labels
) -> None:
    before = device(held, said, carried)
    change = relabelled(before, wanted)
    after = relabelled_as(before, change) if change else before
    assert labels_of(after) == wanted
    assert not relabelled(after, wanted)


LABELS = {"site": "lab", "ring": "early"}


@pytest.mark.parametrize(
    ("text", "selects"),
    [
        ("site=lab", True),
        ("site==lab,ring=early", True),
        ("site=lab,ring=late", False),
        ("ring!=late", True),
        ("ring!=early", False),
        ("room!=a", True),
        ("ring in (late, early)", True),
        ("ring in(late)", False),
        ("ring notin (late)", True),
        ("room notin (a,b)", True),
        ("site", True),
        ("room", False),
        ("!room", True),
        ("! site", False),
        (" site = lab , !room ", True),
    ],
)
def test_selectors_as_kubectl_takes_them(text: str, selects: bool) -> None:
    selector = parse_selector("--selector", text)
    assert selector.selects(LABELS) is selects
    assert parse_selector("--selector", str(selector)) == selector


@pytest.mark.parametrize(
    "text", ["", " ", "=lab", "site=-lab", "a b", "site in lab", "site in ()x", "!a=b", "a=b c", "a,,b"]
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"--selector .* is no selector"):
        parse_selector("--selector", text)


@pytest.mark.parametrize(
    ("requirement", "labels", "meets"),
    [
        (Requirement("ring", Operator.IN, ("early", "late")), LABELS, True),
        (Requirement("ring", Operator.IN, ("late",)), LABELS, False),
        (Requirement("room", Operator.IN, ("a",)), LABELS, False),
        (Requirement("room", Operator.NOT_IN, ("a",)), LABELS, True),
        (Requirement("site", Operator.NOT_IN, ("lab",)), LABELS, False),
        (Requirement("site", Operator.EXISTS), LABELS, True),
        (Requirement("room", Operator.EXISTS), LABELS, False),
        (Requirement("room", Operator.DOES_NOT_EXIST), LABELS, True),
        (Requirement("site", Operator.DOES_NOT_EXIST), LABELS, False),
    ],
)
def test_requirements(requirement: Requirement, labels: Labels, meets: bool) -> None:
    assert requirement.meets(labels) is meets
    both = Selector({"site": "lab"}, (requirement,))
    assert both.selects(labels) is meets
    assert not both.selects({**labels, "site": "home"})


@pytest.mark.parametrize(
    "requirement",
    [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "NotIn", "values": []},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "a", "operator": "DoesNotExist", "values": ["x"]},
        {"key": "a", "operator": "Gt", "values": ["1"]},
        {"key": "-a", "operator": "Exists"},
        {"key": "a", "operator": "In", "values": ["-x"]},
        {"operator": "Exists"},
    ],
)
def test_requirements_that_say_nothing_are_refused(requirement: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        from_builtins(requirement, Requirement)
