"""Values of a Compose file that are of another kind than Compose has there: none is taken for something else."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.cli.compose_keys import container
from fleet.contract.tree import Object
from fleet.contract.written import Fault

NO: dict[str, tuple[str, Any, str]] = {
    "a list as a value": ("environment", Object(A=[1]), "a list is no text"),
    "a text as a map": ("environment", "A=B", "'A=B' is no list"),
    "a boolean as a user": ("user", True, "true is no text; put one in quotes"),
    "a boolean as a word": ("command", [True], "true is no text"),
    "a map as a word": ("command", [Object(a="b")], "a map is no text"),
    "a number as a command": ("command", 5, "5 is no list"),
    "half a quotation": ("command", 'a "b', "has a quotation without an end"),
    "another word for no": ("privileged", "nope", "'nope' is neither true nor false"),
    "a number as a boolean": ("read_only", 0, "0 is neither true nor false"),
    "a boolean as a number": ("pids_limit", True, "true is no whole number"),
    "a text as a number": ("cpus", "two", "'two' is no number"),
    "no number": ("cpus", "nan", "'nan' is no number"),
    "a word as a port": ("ports", [Object(published="a", target=1)], "'a' is no whole number"),
    "half a port": ("ports", [Object(published=1)], "nothing is no whole number"),
    "a number as ports": ("ports", 5, "5 is no list"),
    "no test": ("healthcheck", Object(test=[]), "test is a text, or a list of CMD or CMD-SHELL"),
    "a test of nothing": ("healthcheck", Object(test=["CMD"]), "test is a text, or a list of CMD or CMD-SHELL"),
    "a map as a test": ("healthcheck", Object(test=Object(a="b")), "a map is no list"),
    "a number as limits": ("deploy", 5, "5 is no map"),
    "a map as capabilities": ("cap_add", Object(a="b"), "a map is no list"),
    "a text as hosts": ("extra_hosts", "a:1.2.3.4", "'a:1.2.3.4' is no list"),
    "what nobody foresaw": ("logging", 5, "it is not what the Compose specification has there"),
}


@pytest.mark.parametrize("case", NO)
def test_what_is_of_another_kind_is_named(case: str) -> None:
    key, value, words = NO[case]
    faults: list[Fault] = []
    container(Object({"image": "x", key: value}), ("services", "web"), faults)
    (fault,) = faults
    assert fault.says.startswith(f"services.web.{key} does not map: ")
    assert words in fault.says


@pytest.mark.parametrize(("value", "wanted"), [("false", False), ("No", False), (False, False), ("true", True)])
def test_a_text_that_says_no_is_no_yes(value: object, wanted: bool) -> None:
    """Compose takes these texts for booleans: a container that is not to be privileged was."""
    faults: list[Fault] = []
    volume = Object(type="volume", source="a", target="/a", read_only=value)
    service = Object(image="x", privileged=value, read_only=value, volumes=[volume])
    made = container(service, ("services", "web"), faults)
    assert not faults
    assert made["security"] == {"privileged": wanted, "readOnlyRoot": wanted}
    assert made["mounts"][0]["readOnly"] is wanted
