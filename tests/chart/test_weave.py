"""Renderings woven into one tree, and the tree as a template's text."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.chart.text import Writer, mark
from fleet.chart.weave import CannotWeave, Choice, Mapping, weave

MANY = Choice("gt .n 1", ".n", off=1, on=9)
SAFE = Choice(".safe")


def text(base: Any, *variants: tuple[Choice, Any]) -> str:  # noqa: ANN401 - any rendering
    woven = weave({"Object/a": base}, [(choice, {"Object/a": tree}) for choice, tree in variants])
    assert isinstance(woven, Mapping)
    return Writer({"image": ".image | quote"}, {77: ".port"}).documents(woven).removeprefix("---\n")


def test_what_no_choice_changes_stands_as_it_is() -> None:
    base = {"a": {"b": 1, "c": ["x", {"y": True}]}}
    assert text(base, (MANY, base)) == 'a:\n  b: 1\n  c:\n    - x\n    - "y": true\n'.replace('"y"', '"y"')


def test_what_is_added_stands_under_its_condition() -> None:
    assert text({"a": 1}, (SAFE, {"a": 1, "b": 2, "c": 3})) == "a: 1\n{{- if .safe }}\nb: 2\nc: 3\n{{- end }}\n"


def test_what_is_taken_out_stands_under_the_opposite() -> None:
    assert text({"a": 1, "b": 2}, (SAFE, {"a": 1})) == "a: 1\n{{- if not (.safe) }}\nb: 2\n{{- end }}\n"


def test_a_scalar_that_differs_is_one_of_two() -> None:
    assert text({"a": "x"}, (SAFE, {"a": "z"})) == "a: {{ if .safe }}z{{ else }}x{{ end }}\n"


def test_a_scalar_that_is_the_choice_is_its_value() -> None:
    assert text({"a": 1, "b": 1}, (MANY, {"a": 9, "b": 1})) == "a: {{ .n }}\nb: 1\n"


def test_a_list_that_grows() -> None:
    more = {"a": ["x", "z"]}
    assert text({"a": ["x"]}, (SAFE, more)) == "a:\n  - x\n  {{- if .safe }}\n  - z\n  {{- end }}\n"


def test_a_list_that_was_empty_is_not_null_without_the_choice() -> None:
    assert text({"a": []}, (SAFE, {"a": ["z"]})) == "{{- if .safe }}\na:\n  - z\n{{- else }}\na: []\n{{- end }}\n"


def test_two_choices_in_two_places() -> None:
    assert text({"a": {}}, (SAFE, {"a": {}, "b": 1}), (MANY, {"a": {}, "c": 2})) == (
        "a: {}\n{{- if .safe }}\nb: 1\n{{- end }}\n{{- if gt .n 1 }}\nc: 2\n{{- end }}\n"
    )


@pytest.mark.parametrize(
    ("base", "one", "other"),
    [
        ({"a": 1}, {"a": 2}, {"a": 3}),
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {}, {}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}),
    ],
)
def test_choices_that_meet_in_one_place_are_refused(base: Any, one: Any, other: Any) -> None:  # noqa: ANN401
    with pytest.raises(CannotWeave):
        text(base, (SAFE, one), (MANY, other))


def test_marks_become_values_and_nothing_else_does() -> None:
    base = {"whole": mark("image"), "part": f"x-{mark('image')}", "port": 77, "plain": "{{ .no }}", "word": "yes"}
    assert text(base) == (
        "whole: {{ .image | quote }}\n"
        'part: "x-{{ .image | quote }}"\n'
        "port: {{ .port }}\n"
        'plain: "{{ "{{" }} .no }}"\n'
        'word: "yes"\n'
    )
