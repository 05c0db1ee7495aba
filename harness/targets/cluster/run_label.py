"""What runs made in a cluster that is only visited, known by its mark; and how it is removed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES
from harness.errors import HarnessError, TargetUnavailable
from harness.scenario.command import run
from harness.targets.cluster.policy import RUN_LABEL

Json = dict[str, Any]

_log = logging.getLogger("fleet.marks")
_GONE = 60.0
"""Seconds that one removal may take: the operator clears up behind it."""


def claim(http: httpx.Client, namespace: str, run_id: str) -> list[str]:
    """Take over what dead runs left; the lease must be held, so that every other run is a dead one.

    Returns what was taken over, as `plural/name`.
    """
    found: list[str] = []
    for plural in (DEPLOYMENTS, DEVICES):
        for item in _marked(http, namespace, plural):
            if item["metadata"]["labels"][RUN_LABEL] != run_id:
                name = item["metadata"]["name"]
                _ask(http, "PATCH", f"{_path(namespace, plural)}/{name}", {"metadata": {"labels": {RUN_LABEL: run_id}}})
                found.append(f"{plural}/{name}")
    return found


def remove(http: httpx.Client, namespace: str, run_id: str, env: Mapping[str, str], folder: Path) -> list[str]:
    """Remove what bears the run's mark, as an operator does: so a device's identity at the provider goes too.

    Returns what was removed.

    Raises:
        TargetUnavailable: something could not be removed; the message says what, and in whose words.
    """
    removed: list[str] = []
    failed: list[str] = []
    for plural, kind in ((DEPLOYMENTS, "deployment"), (DEVICES, "device")):
        for item in _marked(http, namespace, plural):
            if item["metadata"]["labels"][RUN_LABEL] == run_id:
                name = item["metadata"]["name"]
                problem = _delete(kind, name, env, folder)
                (failed if problem else removed).append(f"{plural}/{name}{problem}")
    if failed:
        listed = "\n".join(f"  - {failure}" for failure in failed)
        raise TargetUnavailable(
            f"what test runs left in {namespace} could not be removed:\n{listed}", next_step="is the operator up?"
        )
    return removed


def _delete(kind: str, name: str, env: Mapping[str, str], folder: Path) -> str:
    argv = ["fleet", kind, "delete", name]
    try:
        result = run(argv, " ".join(argv), env=env, folder=folder, deadline=_GONE, on_line=_log.debug)
    except HarnessError as error:
        return f": {error.what}"
    return "" if result.code == 0 else f":\n{result}"


def _marked(http: httpx.Client, namespace: str, plural: str) -> list[Json]:
    return _ask(http, "GET", f"{_path(namespace, plural)}?labelSelector={RUN_LABEL}")["items"]


def _path(namespace: str, plural: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}"


def _ask(http: httpx.Client, method: str, path: str, merge: Json | None = None) -> Json:
    try:
        answer = http.request(method, path, json=merge, headers={"Content-Type": "application/merge-patch+json"})
    except httpx.HTTPError as error:
        raise TargetUnavailable(f"{method} {path}: {error}", next_step="is the API server up?") from error
    if answer.is_error:
        raise TargetUnavailable(
            f"{method} {path}: {answer.status_code} {answer.text[:300]}", next_step="see the words of the API server"
        )
    return answer.json()
