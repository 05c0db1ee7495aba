"""What a support bundle leaves out, whatever the names of a workload's variables are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.cli.redact import redacted, values_of, without_values

CANARY = "canary-5e2b"


def workload(env: dict[str, str]) -> dict[str, Any]:
    file = {"path": "/etc/app.conf", "mode": "0400", "content": f"{CANARY}-content"}
    container = {"env": env, "files": [file], "image": "web:1"}
    return {"spec": {"workload": {"type": "pod", "containers": [{"name": "web", **container}], **container}}}


@pytest.mark.parametrize("name", ["path", "mode", "owner", "type", "files", "env", "PASSWORD"])
def test_a_variable_of_any_name_is_taken_out(name: str) -> None:
    """One that was called as a field of a file was told as it is."""
    item = workload({name: f"{CANARY}-value"})
    shown = json.dumps(without_values(item))
    assert CANARY not in shown
    assert name in shown, "its name stays"
    assert CANARY not in redacted(f"it says {CANARY}-value", values_of([item]))


def test_where_a_file_is_and_what_kind_of_workload_it_is_stays() -> None:
    shown = without_values(workload({}))["spec"]["workload"]
    assert shown["type"] == "pod"
    assert shown["containers"][0]["files"][0] == {"path": "/etc/app.conf", "mode": "0400", "content": "(taken out)"}
