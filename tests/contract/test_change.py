"""Who ordered a generation: what is written, and that nothing else is taken for it."""

from __future__ import annotations

import msgspec
import pytest

from fleet.contract.change import APPLIED, PATCHED, Change, change_of
from fleet.contract.objects import Metadata

CHANGE = Change("7f3a9c2e41d0", 3, "fleet deployment apply", "alice")


def meta(generation: int, **annotations: str) -> Metadata:
    names = {"applied": APPLIED, "patched": PATCHED}
    return Metadata("web", generation=generation, annotations={names[key]: text for key, text in annotations.items()})


@pytest.mark.parametrize("way", ["applied", "patched"])
def test_a_change_is_of_its_generation_alone(way: str) -> None:
    assert change_of(meta(3, **{way: CHANGE.annotation})) == CHANGE
    assert change_of(meta(4, **{way: CHANGE.annotation})) is None, "another tool made that one"
    assert change_of(meta(2, **{way: CHANGE.annotation})) is None


def test_of_two_the_one_that_fits_counts() -> None:
    later = msgspec.structs.replace(CHANGE, generation=4, command="fleet deployment pause")
    both = {"applied": CHANGE.annotation, "patched": later.annotation}
    assert change_of(meta(3, **both)) == CHANGE
    assert change_of(meta(4, **both)) == later


@pytest.mark.parametrize(
    "text",
    [
        *("", "alice", "[]", '{"generation":3}', '{"id":"","generation":3,"command":"x"}', "\ud800"),
        '{"id":"XYZ","generation":3,"command":"x"}',
        '{"id":"7f","generation":3,"command":"' + "x" * 200 + '"}',
    ],
    ids=["empty", "text", "list", "no-id", "empty-id", "surrogate", "no-hex", "long"],
)
def test_what_is_no_change_is_none(text: str) -> None:
    assert change_of(meta(3, applied=text)) is None


def test_what_is_said_of_it_is_one_line() -> None:
    assert str(CHANGE) == "by alice with `fleet deployment apply` (change 7f3a9c2e41d0)"
    forged = msgspec.structs.replace(CHANGE, by="alice\nNormal\x1b[2J")
    assert "\n" not in str(forged)
    assert "\x1b" not in str(forged)
