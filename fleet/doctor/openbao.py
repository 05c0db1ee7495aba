"""The OpenBao that Secrets of workloads stand for: whether it answers, and takes the operator's login; until when.

Everything is asked as the operator asks it, but no entry is read: what OpenBao says of the rights to it is enough.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from fleet.contract.certificates import ends_of
from fleet.contract.errors import InvalidInput, NotFound, NotPermitted, Unreachable
from fleet.contract.objects import FleetDeployment
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import OPENBAO_SECRET, OPENBAO_TYPE, SEALABLE_LABEL, mark_sealable
from fleet.doctor.findings import Worrying
from fleet.doctor.openbao_asker import Asker
from fleet.install.rbac import OPERATOR
from fleet.operator.reconcile.secrets import named
from fleet.secrets.openbao_connection import RENEW, SEE, Connection, Token, connection_of, entry_path, token_of, when

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

_OF_OUR_TYPE = f"fieldSelector={quote(f'type={OPENBAO_TYPE}', safe='')}"
_SOON = 30 * 86_400
"""A certificate that ends within so many seconds is a warning."""
_MINUTES = 600
"""Seconds for which a token of the operator's account is asked for: Kubernetes gives none for less."""


class _Status(msgspec.Struct, frozen=True):
    sealed: bool
    initialized: bool


class _Options(msgspec.Struct, frozen=True):
    version: str = ""


class _Mount(msgspec.Struct, frozen=True):
    type: str
    options: _Options | None = None


class _Mounted(msgspec.Struct, frozen=True):
    data: _Mount


class _Rights(msgspec.Struct, frozen=True):
    data: dict[str, tuple[str, ...]]


class _Auth(msgspec.Struct, frozen=True):
    client_token: str


class _LoggedIn(msgspec.Struct, frozen=True):
    auth: _Auth


def check_openbao(kube: KubeClient, namespace: str, deployments: Sequence[FleetDeployment], now: float) -> str:
    """Check the OpenBao of Secrets of workloads, and the operator's login there; `now` is Unix seconds.

    Raises:
        FleetError: a deployment needs it, and the operator cannot read there.
        Worrying: something of it ends soon, or it cannot be looked at from here.
    """
    taken = {name for deployment in deployments for name in named(deployment.spec.workload)}
    try:
        found = kube.find("Secret", OPENBAO_SECRET, namespace)
        secrets = [json.loads(text) for text in kube.list_raw("Secret", namespace, _OF_OUR_TYPE)]
    except NotPermitted as error:
        raise Worrying(
            "you may not read the server's Secrets, so the OpenBao of workloads is not checked",
            next_step=error.next_step,
        ) from error
    pointers: dict[str, Json] = {name: one for one in secrets if (name := one["metadata"]["name"]) in taken}
    if found is None and pointers:
        raise NotFound(
            f"the Secret {min(pointers)} stands for what is in OpenBao, and there is no Secret {OPENBAO_SECRET} "
            "that says which one",
            next_step=f"kubectl create secret generic {OPENBAO_SECRET} …; {SEE}",
        )
    if found is None:
        return "no Secret stands for what is in OpenBao"
    connection = connection_of(_data(found))
    if connection.url.startswith("http:"):
        raise Worrying(
            f"the operator asks {connection.url} without TLS, on its own machine, so it is not checked from here",
            next_step="`fleet deployment show` says whether the operator can read there",
        )
    paths = {_path(name, secret) for name, secret in pointers.items()}
    with Asker(connection) as asker:
        return _look(asker, connection, paths, kube, namespace, now)


def _data(secret: Json) -> Mapping[str, bytes]:
    data: Mapping[str, str] = secret.get("data") or {}
    return {name: base64.b64decode(value) for name, value in data.items()}


def _path(name: str, secret: Json) -> str:
    labels: Mapping[str, str] = secret["metadata"].get("labels") or {}
    if labels.get(SEALABLE_LABEL) != "true":
        raise InvalidInput(
            f"the Secret {name} is not marked as one that devices may have",
            next_step=mark_sealable(name),
        )
    try:
        return entry_path(_data(secret))
    except InvalidInput as error:
        raise InvalidInput(f"the Secret {name} stands for what is in OpenBao: {error.what}", next_step=SEE) from error


def _look(asker: Asker, to: Connection, paths: set[str], kube: KubeClient, namespace: str, now: float) -> str:
    status = asker.decoded("GET", "sys/seal-status", _Status)
    if not status.initialized:
        raise Unreachable(f"{to.url} was never initialised", next_step="bao operator init, then fill it")
    if status.sealed:
        raise Unreachable(
            f"{to.url} is sealed: no new Secret is read from it",
            next_step="bao operator unseal; what runs on devices goes on meanwhile",
        )
    if to.token:
        return _look_as(asker, to, to.token, paths, now)
    token = _logged_in(asker, to, _account_token(kube, namespace))
    try:
        return _look_as(asker, to, token, paths, now)
    finally:
        asker.ask("POST", "auth/token/revoke-self", token=token)


def _look_as(asker: Asker, to: Connection, token: str, paths: set[str], now: float) -> str:
    about = token_of(asker.ask("GET", "auth/token/lookup-self", token=token).content)
    _require_mount(asker, to, token, known=about is not None)
    if about is None:
        raise Worrying(
            "the operator's token may not ask about itself, so nobody knows when it ends",
            next_step="give it the policy `default`, too (bao token create does so by itself)",
        )
    if paths:
        _require_rights(asker, to, token, paths)
    return _ends(to, about, asker.ends, now)


def _account_token(kube: KubeClient, namespace: str) -> str:
    try:
        return kube.token(OPERATOR, namespace, seconds=_MINUTES)
    except NotPermitted as error:
        raise Worrying(
            f"you may not have a token of the ServiceAccount {OPERATOR}, so its login at OpenBao is not tried",
            next_step=error.next_step,
        ) from error


def _logged_in(asker: Asker, to: Connection, account: str) -> str:
    answer = asker.ask("POST", f"auth/{to.auth}/login", {"role": to.role, "jwt": account})
    try:
        return msgspec.json.decode(answer.content, type=_LoggedIn).auth.client_token
    except NOT_JSON:
        raise NotPermitted(
            f"{to.url} refuses the login of the operator as role {to.role} at auth/{to.auth}: {answer.said}",
            next_step=f"is the auth method enabled there, and does the role name {OPERATOR} and its namespace?",
        ) from None


def _require_mount(asker: Asker, to: Connection, token: str, *, known: bool) -> None:
    answer = asker.ask("GET", f"sys/internal/ui/mounts/{to.mount}", token=token)
    if answer.status == HTTPStatus.FORBIDDEN and not known:
        raise NotPermitted(
            f"{to.url} does not take the operator's token: it has ended, was revoked, or never was one",
            next_step=f"put another token into the Secret {OPENBAO_SECRET}: the operator sees it by itself",
        )
    if answer.status == HTTPStatus.FORBIDDEN:
        raise NotPermitted(
            f"{to.url} has no mount {to.mount!r}, or the operator has no right to anything in it",
            next_step=f"correct `mount` in the Secret {OPENBAO_SECRET}, or give it the policy of docs/operations.md",
        )
    mount = asker.parsed(answer, _Mounted, "sys/internal/ui/mounts").data
    version = mount.options.version if mount.options else ""
    if (mount.type, version) != ("kv", "2"):
        raise InvalidInput(
            f"{to.mount!r} of {to.url} is no key-value engine of version 2 ({mount.type} {version or 1})",
            next_step=f"correct `mount` in the Secret {OPENBAO_SECRET}, or: bao kv enable-versioning {to.mount}",
        )


def _require_rights(asker: Asker, to: Connection, token: str, paths: set[str]) -> None:
    asked = {f"{to.mount}/data/{to.path}/{path}" for path in paths}
    answer = asker.ask("POST", "sys/capabilities-self", {"paths": sorted(asked)}, token=token)
    rights = asker.parsed(answer, _Rights, "sys/capabilities-self").data
    lacking = [path for path in sorted(asked) if not {"read", "root"} & set(rights.get(path, ()))]
    if lacking:
        more = f", and {len(lacking) - 1} more" if lacking[1:] else ""
        raise NotPermitted(
            f"the operator may not read {lacking[0]}{more} at {to.url}",
            next_step=f'give it the policy of docs/operations.md: path "{to.mount}/data/{to.path}/*"',
        )


def _ends(to: Connection, about: Token, certificate: float | None, now: float) -> str:
    worries = list(_worries(to, about, certificate, now))
    if worries:
        raise Worrying("; ".join(what for what, _ in worries), next_step=worries[0][1])
    end = about.end(now) if to.token else None
    until = f", until {when(end)}" if end else ""
    return f"{to.url} is unsealed and takes the operator's login{until}"


def _worries(to: Connection, about: Token, certificate: float | None, now: float) -> Iterator[tuple[str, str]]:
    """What works now, and will not for long, or does more than it should: each with its next step."""
    if to.token and about.ends_soon and (end := about.end(now)):
        yield f"the token in the Secret {OPENBAO_SECRET} ends on {when(end)}", RENEW
    if about.num_uses:
        step = "put one without such a bound there: the operator uses it every 5 s"
        yield f"the token in the Secret {OPENBAO_SECRET} can be used {about.num_uses} times only", step
    if "root" in about.policies:
        step = "give it one with the policy of docs/operations.md"
        yield "the operator has a root token of OpenBao, which may do everything there", step
    if certificate is not None and certificate - now < _SOON:
        step = "renew it: after that the operator reads nothing new there"
        yield f"the certificate of {to.url} ends on {when(certificate)}", step
    authority = max(ends_of(to.ca).values(), default=None) if to.ca else None
    if authority is not None and authority - now < _SOON:
        step = "put the new one beside it into `ca`, then renew the certificate"
        yield f"the authority `ca` in the Secret {OPENBAO_SECRET} ends on {when(authority)}", step
