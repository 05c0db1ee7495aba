"""What a run needs of a shared cluster: checked before anything is changed, and reported in one message."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP, SERVER_CONFIG_MAP, ServerInfo
from fleet.contract.wire import decode
from harness.errors import TargetUnavailable
from harness.targets.cluster.description import Description

Json = dict[str, Any]

_LOOKS = (("", "configmaps"), ("", "pods"), (GROUP, DEVICES), (GROUP, DEPLOYMENTS))
_WRITES = tuple((GROUP, plural, verb) for plural in (DEVICES, DEPLOYMENTS) for verb in ("create", "patch", "delete"))


def check(http: httpx.Client, description: Description, *, writes: bool) -> None:
    """Whether the login has the rights, the server is installed as described, and the issuer answers.

    Raises:
        TargetUnavailable: it is not so; the message lists everything.
    """
    try:
        problems = [*_rights(http, description.namespace, writes=writes), *_server(http, description)]
    except httpx.HTTPError as error:
        problems = [f"the API server does not answer: {error}"]
    if silent := issuer_problem(description):
        problems.append(silent)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise TargetUnavailable(
            f"the target is not as it must be:\n{listed}", next_step="docs/targets.md has the Role and the example"
        )


def issuer_problem(description: Description) -> str:
    """Why the identity provider cannot be used; empty when it can."""
    try:
        trust = ssl.create_default_context(cafile=str(description.issuer_ca))
        url = f"{description.issuer}/.well-known/openid-configuration"
        httpx.get(url, verify=trust, timeout=10).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"the issuer {description.issuer} does not answer: {error}"
    return ""


def _rights(http: httpx.Client, namespace: str, *, writes: bool) -> list[str]:
    """Looks are tried, for a production server is sent nothing else; writes are asked for (`kubectl auth can-i`)."""
    missing: list[str] = []
    for group, plural in _LOOKS:
        prefix = f"/apis/{group}/v1alpha1" if group else "/api/v1"
        answer = http.get(f"{prefix}/namespaces/{namespace}/{plural}?limit=1")
        if answer.is_error:
            missing.append(f"the login cannot list {plural} in {namespace}: {answer.status_code} {_message(answer)}")
    for group, plural, verb in _WRITES if writes else ():
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": plural}
        answer = http.post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            json={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            },
        )
        if answer.is_error or not answer.json()["status"]["allowed"]:
            missing.append(f"the login may not {verb} {plural} in {namespace}")
    return missing


def _server(http: httpx.Client, description: Description) -> list[str]:
    answer = http.get(f"/api/v1/namespaces/{description.namespace}/configmaps/{SERVER_CONFIG_MAP}")
    if answer.is_error:
        return [f"no fleet server is installed in {description.namespace}: {answer.status_code} {_message(answer)}"]
    try:
        server = decode(answer.json()["data"]["server.json"].encode(), ServerInfo)
    except (KeyError, InvalidInput) as error:
        return [f"the server says of itself what this version does not understand: {error}"]
    problems: list[str] = []
    if server.issuer != description.issuer:
        problems.append(f"issuer: the server's is {server.issuer}, described is {description.issuer}")
    if description.exposure and server.nats_url != description.exposure:
        problems.append(f"exposure: the server's is {server.nats_url}, described is {description.exposure}")
    return problems


def _message(answer: httpx.Response) -> str:
    try:
        found: Json = answer.json()
    except ValueError:
        return answer.text.strip()[:200]
    return str(found.get("message", ""))[:200]
