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
    "no entrypoint": ("entrypoint", [], "the image's own cannot be taken away"),
    "no command": ("command", " ", "the image's own cannot be taken away"),
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
    "a list as a protocol": ("ports", [Object(published=1, target=1, protocol=["tcp"])], "a list is no text"),
    "a mode of swarm's": ("ports", [Object(published=1, target=1, mode="vip")], "its mode is neither ingress nor host"),
    "half a second": ("stop_grace_period", "500ms", "'500ms' is no number of whole seconds"),
    "no end of time": ("stop_grace_period", f"{'9' * 400}h", "is no duration"),
    "another policy": ("pull_policy", "daily", "it is none of always, missing, if_not_present, never"),
    "a host twice": ("extra_hosts", ["a:1.1.1.1", "a:2.2.2.2"], "a stands there twice"),
    "a variable twice": ("environment", ["A=1", "A=2"], "A stands there twice"),
    "half a limit": ("ulimits", Object(nofile=Object(soft=1)), "nothing is no whole number"),
    "more of a limit": ("ulimits", Object(nofile=Object(soft=1, hard=2, x=3)), "x is not taken"),
    "a mode of memory": (
        "volumes",
        [Object(type="tmpfs", target="/a", tmpfs=Object(mode=0o700))],
        "mode is not taken",
    ),
    "no file of a secret": ("secrets", [Object(target="/a")], "nothing is no text"),
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


def test_two_keys_for_one_limit_must_agree() -> None:
    deploy = Object(resources=Object(limits=Object(memory="128m")))
    for limit, count in (("64m", 1), ("128m", 0)):
        faults: list[Fault] = []
        container(Object(image="x", mem_limit=limit, deploy=deploy), ("services", "web"), faults)
        assert [fault.says for fault in faults] == [
            "services.web.deploy does not map: another key says 67108864 of the same"
        ][:count]


@pytest.mark.parametrize(
    ("key", "value", "field", "wanted"),
    [
        (
            "security_opt",
            ["no-new-privileges:true", "label:disable"],
            "options",
            ["no-new-privileges", "label=disable"],
        ),
        ("security_opt", ["no-new-privileges:false"], "options", []),
        ("cap_add", ["CAP_NET_ADMIN", "sys_time"], "capabilities", {"add": ["NET_ADMIN", "SYS_TIME"]}),
        ("healthcheck", Object(test=["CMD-SHELL", "a", "b"]), "command", ["sh", "-c", "a", "b"]),
        ("healthcheck", Object(test="a", disable="false"), "command", ["sh", "-c", "a"]),
    ],
)
def test_what_docker_takes_is_taken_whole(key: str, value: object, field: str, wanted: object) -> None:
    faults: list[Fault] = []
    made = container(Object({"image": "x", key: value}), ("services", "web"), faults)
    assert not faults
    assert made["health" if key == "healthcheck" else "security"][field] == wanted


def test_a_secret_without_a_target_has_its_name() -> None:
    faults: list[Fault] = []
    made = container(Object(image="x", secrets=[Object(source="a", target=None)]), ("services", "web"), faults)
    assert (made["files"][0]["path"], faults) == ("/run/secrets/a", [])


@pytest.mark.parametrize("value", [["a", "b=c"], Object(a=None, b="c")])
def test_a_label_may_have_no_value(value: object) -> None:
    """It was refused with words about variables of the environment."""
    faults: list[Fault] = []
    made = container(Object(image="x", labels=value), ("services", "web"), faults)
    assert (made["labels"], faults) == ({"a": "", "b": "c"}, [])
