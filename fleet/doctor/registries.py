"""The registries of deployments: whether they answer here, and accept the login of the pull secret."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx

from fleet.contract.errors import InvalidInput, NotFound, NotPermitted
from fleet.contract.image import DOCKER_HUB, HUB_ADDRESS, registry_of, repository_of
from fleet.contract.logins import login_ends, registry_login
from fleet.contract.objects import FleetDeployment
from fleet.contract.sealed import (
    DOCKER_CONFIG_KEY,
    DOCKER_CONFIG_TYPE,
    OPENBAO_TYPE,
    SEALABLE_LABEL,
    RegistryLogin,
    mark_sealable,
)
from fleet.doctor.findings import Worrying
from fleet.doctor.registry_tokens import REFUSED, WHOLE, WITHIN, challenges, token_for, token_server
from fleet.identity.proxies import check_proxies
from fleet.process.deadline import in_time
from fleet.process.failures import in_words

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_SOON = 7 * 86_400
"""A login that ends within so many seconds is a warning."""


def check_registries(kube: KubeClient, namespace: str, deployments: Sequence[FleetDeployment], now: float) -> str:
    """Check that the registry of each deployment answers and accepts its login; `now` is Unix seconds.

    Raises:
        FleetError: a login is missing, has ended, or is refused; the worst is named.
        Worrying: a login ends soon, or a registry does not answer from here.
    """
    wanted: dict[tuple[str, str], set[str]] = {}
    for part in (part for deployment in deployments for part in deployment.spec.workload.parts.values()):
        wanted.setdefault((registry_of(part.image), part.image_pull_secret), set()).add(part.image)
    if not wanted:
        return "no deployment names an image"
    worries: list[Worrying] = []
    for (registry, secret), images in sorted(wanted.items()):
        try:
            for login, theirs in _logins(kube, namespace, secret, sorted(images)).items():
                _look(registry, login, theirs, now)
        except Worrying as error:
            worries.append(error)
    if worries:
        raise Worrying("; ".join(worry.what for worry in worries), next_step=worries[0].next_step)
    return f"answering: {', '.join(sorted({registry for registry, _ in wanted}))}"


def _logins(
    kube: KubeClient, namespace: str, name: str, images: Sequence[str]
) -> Mapping[RegistryLogin | None, Sequence[str]]:
    """The images of one registry by the login that each gets from a Secret; by none where no Secret is named."""
    if not name:
        return {None: images}
    found: dict[RegistryLogin | None, list[str]] = {}
    secret = _secret(kube, namespace, registry_of(images[0]), name)
    for image in images:
        found.setdefault(login_of(secret, image), []).append(image)
    return found


def _secret(kube: KubeClient, namespace: str, registry: str, name: str) -> Json:
    try:
        found = kube.find("Secret", name, namespace)
    except NotPermitted as error:
        raise Worrying(
            f"you may not read the Secret {name}, so its login is not checked", next_step=error.next_step
        ) from error
    if found is None:
        raise NotFound(
            f"there is no Secret {name}, which a deployment names for its image",
            next_step=f"kubectl create secret docker-registry {name} --docker-server={registry} …",
        )
    return found


def login_of(secret: Json, image: str) -> RegistryLogin:
    """The login for an image in a Secret as Kubernetes has it.

    Raises:
        FleetError: there is none, or it cannot be sent to devices.
    """
    name = secret["metadata"]["name"]
    labels: Mapping[str, str] = secret["metadata"].get("labels") or {}
    if labels.get(SEALABLE_LABEL) != "true":
        raise InvalidInput(
            f"the Secret {name} is not marked as one that devices may have",
            next_step=mark_sealable(name),
        )
    if secret.get("type") == OPENBAO_TYPE:
        raise Worrying(
            f"the login of the Secret {name} is in OpenBao, so it is not checked from here",
            next_step="`fleet deployment show` says whether the operator can read it there, and devices use it",
        )
    if secret.get("type") != DOCKER_CONFIG_TYPE:
        raise InvalidInput(
            f"the Secret {name} is of the type {secret.get('type')}, not {DOCKER_CONFIG_TYPE}",
            next_step="make it with `kubectl create secret docker-registry`",
        )
    data: Mapping[str, str] = secret.get("data") or {}
    return registry_login(base64.b64decode(data.get(DOCKER_CONFIG_KEY, "")), image, name)


def _look(registry: str, login: RegistryLogin | None, images: Sequence[str], now: float) -> None:
    worry = judge_end(login, now) if login else None
    answer = _asked(registry)
    if login is not None and answer.status_code == HTTPStatus.UNAUTHORIZED:
        offered = challenges(answer.headers.get("www-authenticate", ""))
        if "bearer" in offered:
            _try_tokens(registry, offered["bearer"], login, images)
        elif "basic" in offered:
            answer = _asked(registry, auth=httpx.BasicAuth(login.username, login.password))
            if answer.status_code in REFUSED:
                raise NotPermitted(
                    f"the registry {registry} refuses the login of the Secret {login.secret}",
                    next_step="put the present password into that Secret; devices take it within seconds",
                )
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status_code == HTTPStatus.NOT_FOUND:
        raise Worrying(
            f"the registry {registry} answers {answer.status_code}", next_step="is it well, and is it a registry?"
        )
    if worry is not None:
        raise worry


def _try_tokens(registry: str, parameters: Mapping[str, str], login: RegistryLogin, images: Sequence[str]) -> None:
    """Ask for a token for each repository, and use it as an engine would before a pull."""
    server = token_server(registry, parameters)
    for repository, version in sorted({repository_of(image) for image in images}):
        token = token_for(server, login, repository)
        headers = {"Authorization": f"Bearer {token}", "Accept": _MANIFESTS}
        # No layer is asked for, and what registries count as a pull is a GET.
        answer = _asked(registry, f"{repository}/manifests/{version}", method="HEAD", headers=headers)
        if answer.status_code in REFUSED:
            raise NotPermitted(
                f"the login of the Secret {login.secret} may not pull {repository} from the registry {registry}",
                next_step="give that user the right to pull it there, or name another Secret",
            )


def judge_end(login: RegistryLogin, now: float) -> Worrying | None:
    """The warning about a login that ends soon; empty if there is none.

    Raises:
        NotPermitted: it has ended.
    """
    ends = login_ends(login)
    if ends is None or ends - now > _SOON:
        return None
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ends))
    step = "renew it there before: devices that must fetch an image after that are refused"
    login_name = f"the login of the Secret {login.secret} at {login.server}"
    if ends <= now:
        raise NotPermitted(
            f"{login_name} has ended on {when}", next_step="renew it: no device can fetch an image with it"
        )
    return Worrying(f"{login_name} ends on {when}", next_step=step)


def _asked(
    registry: str,
    path: str = "",
    *,
    method: str = "GET",
    auth: httpx.BasicAuth | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """The head of a registry's answer (OCI distribution specification, "Determining Support", "Pulling Manifests")."""
    check_proxies()
    address = HUB_ADDRESS if registry == DOCKER_HUB else registry
    url = f"https://{address}/v2/{path}"

    def head() -> httpx.Response:
        with httpx.stream(method, url, auth=auth, headers=headers, timeout=WITHIN) as answer:
            return answer

    try:
        return in_time(WHOLE, head)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        said = in_words(error)
        if "certificate" in said.lower():
            raise Worrying(
                f"the certificate of the registry {registry} is not trusted here: {said}",
                next_step=f"devices need its authority at /etc/docker/certs.d/{registry}/ca.crt, or "
                f"/etc/containers/certs.d/{registry}/ca.crt; here, SSL_CERT_FILE names it",
            ) from error
        raise Worrying(
            f"the registry {registry} does not answer from here: {said}",
            next_step="is its name right, and can devices reach it? `fleet device show` has what they say",
        ) from error
