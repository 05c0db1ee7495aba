"""What a person writes is taken whole, or refused with the place and the name that was meant."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import FleetDeployment
from fleet.contract.wire import encode
from fleet.contract.written import MAX_FILE, parse_written
from harness.probes.kube import container_of
from tests.contract.samples import SAMPLES

WEB = """\
kind: FleetDeployment
metadata:
  name: web
spec:
  selector:
    matchLabels: {site: lab}
  workload:
    image: nginx:1.27
    env:
      DAY: 2026-01-01
    ports:
      - host: 80
        container: 8080
    health: null
"""


def parsed(text: str | bytes, file: str = "web.yaml") -> FleetDeployment:
    data = text.encode() if isinstance(text, str) else text
    return parse_written(data, FleetDeployment, file, next_step="look")


def refused(text: str | bytes, file: str = "web.yaml") -> str:
    with pytest.raises(InvalidInput) as error:
        parsed(text, file)
    assert error.value.what.startswith(f"{file}: ")
    return "\n".join([error.value.what.removeprefix(f"{file}: "), *error.value.more])


def test_yaml_and_json_say_the_same() -> None:
    found = parsed(WEB)
    assert found == parsed(encode(found), "web.json")
    assert container_of(found).env == {"DAY": "2026-01-01"}, "as Kubernetes reads it"
    assert parsed("\ufeff" + WEB) == found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("selector:", "selecter:", "line 5: spec.selecter is unknown; did you mean selector?"),
        ("ports:", "prots:", "line 11: spec.workload.prots is unknown; did you mean ports?"),
        ("host:", "Host:", "line 12: spec.workload.ports[0].Host is unknown; did you mean host?"),
        ("  workload:", "  image: x\n  workload:", "line 7: spec.image is unknown; did you mean spec.workload.image?"),
        (
            "    image",
            "    volumes: []\n    image",
            "line 8: spec.workload.volumes is unknown; known in spec.workload: ",
        ),
        ("kind:", "kynd:", "line 1: kynd is unknown; did you mean kind?"),
        ("  name: web", "  name: web\n  name: two", "line 4: metadata.name stands there twice"),
        ("nginx:1.27", "nginx:1.27\n    image: other", "line 9: spec.workload.image stands there twice"),
        ("2026-01-01", "12", "line 10: spec.workload.env.DAY: Expected a text, got a whole number: put it in quotes"),
        ("host: 80", "host: yes", "line 12: spec.workload.ports[0].host: Expected a whole number, got true or false"),
        ("host: 80", "host: 0", "line 12: spec.workload.ports[0].host: Expected a whole number of at least 1"),
        ("host: 80", "host: .inf", "it is not YAML: .inf is no finite number (line 12)"),
        ("image: nginx:1.27", "image: null", "line 8: spec.workload.image: Expected a text, got null"),
        ("image: nginx:1.27", "args: []", "line 7: spec.workload: the field `image` is missing"),
        ("{site: lab}", "null", "line 6: spec.selector.matchLabels: Expected an object, got null"),
        ("{site: lab}", "{1: lab}", "it is not YAML: a name is a text: put it in quotes (line 6)"),
        ("kind:", "---\nkind: List\n---\nkind:", "it is not YAML: it holds several documents, and one is taken"),
        ("health: null", "health: {command: *it}", "it is not YAML: found undefined alias"),
        ("health: null", "health: &it [*it]", "it is not YAML: it is nested too deep (line 14)"),
        ("health: null", "health: !!binary aGk=", "it is not YAML: tag:yaml.org,2002:binary is not taken (line 14)"),
        ("health: null", "health: !!bool x", "it is not YAML: x is no bool (line 14)"),
        ("health: null", "health: !!timestamp x", "it is not YAML: x is no timestamp (line 14)"),
        ("health: null", "health: !!int x", "it is not YAML: x is no int (line 14)"),
        ("host: 80", "host: 1:20", "line 12: spec.workload.ports[0].host: Expected a whole number, got a text"),
        ("health: null", "health: !!python/none x", "it is not YAML: could not determine a constructor"),
        ("health: null", "health: {<<: 1}", "it is not YAML: what << names is no object (line 14)"),
        ("health: null", "health: [", "it is not YAML: "),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_would_be_ignored_is_refused(old: str, new: str, said: str) -> None:
    assert old in WEB
    assert said in refused(WEB.replace(old, new, 1))


def test_what_has_colons_is_a_text_as_kubernetes_has_it() -> None:
    """YAML 1.1 takes it for a number to the base of sixty: a user and a group became one user of another number."""
    text = WEB.replace("2026-01-01", "12:30").replace("    health", "    user: 1000:33\n    health")
    found = container_of(parsed(text))
    assert (found.env, found.user) == ({"DAY": "12:30"}, "1000:33")


def test_every_fault_is_named_at_once() -> None:
    said = refused(WEB.replace("selector:", "selecter:").replace("ports:", "prots:")).splitlines()
    assert [line.partition(" is ")[0] for line in said] == [
        "line 5: spec.selecter",
        "line 11: spec.workload.prots",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"kind": "A", "kind": "A"}', "line 1: kind stands there twice"),
        ('{\n "metadata": {"name": "a", "nmae": "b"}}', "line 2: metadata.nmae is unknown; did you mean name?"),
        ('{"spec": NaN}', "NaN is no finite number"),
        ('{"spec": }', "it is not JSON: Expecting value (line 1, column 10)"),
        ("[" * 100_000, "it is nested more than 32 deep"),
        (f'{{"status": {"[" * 50}{"]" * 50}}}', "nested more than 32 deep"),
        (f'{{"metadata": {"9" * 5000}}}', "Exceeds the limit"),
        ("12", "Expected an object, got a whole number"),
        (b"\xff\xfe", "it is not UTF-8, from byte 1 on"),
        (b" " * (MAX_FILE + 1), f"more than {MAX_FILE}"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_json(text: str | bytes, said: str) -> None:
    assert said in refused(text, "web.json")


def test_aliases_are_taken_and_cannot_explode() -> None:
    twice = WEB.replace("{site: lab}", "&it {site: lab}").replace("    env:", "    env:\n      <<: *it")
    assert container_of(parsed(twice)).env == {"site": "lab", "DAY": "2026-01-01"}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert "it has more than 100000 values" in refused(bomb)


def _paths(kind: msgspec.inspect.Type, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a JSON value of a type holds objects of named fields."""
    if isinstance(kind, msgspec.inspect.UnionType):
        kind = next(one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
    if isinstance(kind, msgspec.inspect.StructType):
        yield path
        for field in kind.fields:
            yield from _paths(field.type, (*path, field.encode_name))
    if isinstance(kind, msgspec.inspect.VarTupleType):
        yield from _paths(kind.item_type, (*path, "*"))


_KINDS = [type(sample) for sample in SAMPLES.values()]
_PLACES = [(kind, path) for kind in dict.fromkeys(_KINDS) for path in _paths(msgspec.inspect.type_info(kind))]


@pytest.mark.parametrize(("kind", "path"), _PLACES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_no_object_of_any_type_takes_an_unknown_name(kind: type[msgspec.Struct], path: tuple[str, ...]) -> None:
    """Strange names are looked for before the rest, so what is around them need not be whole."""
    inner: Any = {"strange-name": 1}
    for part in reversed(path):
        inner = [inner] if part == "*" else {part: inner}
    with pytest.raises(InvalidInput, match="strange-name is unknown"):
        parse_written(json.dumps(inner).encode(), kind, "x.json", next_step="look")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_file_holds_it_is_taken_or_refused(data: bytes) -> None:
    for file in ("x.json", "x.yaml"):
        with contextlib.suppress(InvalidInput):
            parse_written(data, FleetDeployment, file, next_step="look")
