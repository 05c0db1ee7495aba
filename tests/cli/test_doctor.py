"""`fleet doctor`: every part is looked at, and the exit code is for scripts."""

from __future__ import annotations

from tests.cli.conftest import Fleet, Place


def test_nothing_is_installed(fleet: Fleet, namespace: str) -> None:
    answer = fleet("doctor", "-o", "json")
    assert answer.code == 1
    (only,) = answer.json
    assert (only["check"], only["state"]) == ("server", "failed")
    assert namespace in only["says"]


def test_each_part_is_looked_at_and_one_that_fails_does_not_hide_the_others(fleet: Fleet, installed: Place) -> None:
    """Here NATS is announced at a name that is nobody's; all else is well."""
    installed.unready["callout"] = "it waits for keys"
    answer = fleet("doctor", "-o", "json")
    assert answer.code == 1
    states = {one["check"]: one["state"] for one in answer.json}
    assert states == {
        "server": "ok",
        "release": "ok",
        "definitions": "ok",
        "rights": "ok",
        "parts": "failed",
        "nats": "failed",
        "issuer": "ok",
        "keys": "ok",
        "devices": "ok",
        "deployments": "ok",
        "registries": "ok",
        "openbao": "ok",
    }
    assert all(one["next"] for one in answer.json if one["state"] != "ok")
    assert "2 of 12 checks failed: parts, nats" in answer.err
    shown = fleet("doctor")
    assert shown.code == 1
    assert "callout: it waits for keys" in shown.out
    assert "next: read the log of that part" in shown.out
