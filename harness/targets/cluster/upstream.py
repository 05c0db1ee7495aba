"""The way to a cluster's API server with the login that a kubeconfig holds, whatever its kind.

`kubectl proxy` on a unix socket does the logging in: tokens, certificates, exec plugins and what a provider adds next.
Nothing else of us ever sees the credentials.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from functools import partial
from pathlib import Path

import httpx

from harness.errors import ComponentDied, ComponentNotReady, TargetUnavailable
from harness.processes.spawn import running, socket_answers, tail
from harness.targets.cluster.description import Description
from harness.targets.local import inherited

HOST = "http://localhost"
"""The host that `kubectl proxy` accepts; the socket decides where a request goes."""


@contextlib.contextmanager
def upstream(description: Description, folder: Path) -> Generator[Path]:
    """A unix socket that leads to the API server; in a folder that only we may enter.

    Raises:
        TargetUnavailable: the kubeconfig or the context cannot be used, or its login is refused.
    """
    socket, log = folder / "api.sock", folder / "logs" / "kubectl-proxy.log"
    argv = ["kubectl", "proxy", f"--unix-socket={socket}", f"--kubeconfig={description.kubeconfig}"]
    argv += [f"--context={description.context}"] if description.context else []
    home = {"HOME": os.environ["HOME"]} if "HOME" in os.environ else {}  # where login plugins keep what they know
    with contextlib.ExitStack() as cleanup:
        try:
            ready, env = partial(socket_answers, socket), {**inherited(), **home}
            cleanup.enter_context(running(argv, name="kubectl proxy", log=log, ready=ready, env=env))
        except (ComponentDied, ComponentNotReady) as error:
            raise TargetUnavailable(
                f"the kubeconfig {description.kubeconfig} cannot be used:\n{tail(log)}",
                next_step="kubectl config get-contexts shows what it holds",
            ) from error
        _check(socket, description)
        yield socket


def client(socket: Path) -> httpx.Client:
    """Speaks to the API server through the socket; 10 s a call."""
    transport = httpx.HTTPTransport(uds=str(socket), verify=False)
    return httpx.Client(transport=transport, base_url=HOST, timeout=10, trust_env=False)


def _check(socket: Path, description: Description) -> None:
    """Whether the server answers, and accepts the login."""
    try:
        with client(socket) as http:
            answer = http.get(f"/api/v1/namespaces/{description.namespace}/configmaps?limit=1")
    except httpx.HTTPError as error:
        raise TargetUnavailable(
            f"no API server answers to the kubeconfig {description.kubeconfig}: {error}", next_step="kubectl version"
        ) from error
    if answer.status_code == 401:
        raise TargetUnavailable(
            f"the login in the kubeconfig {description.kubeconfig} is expired or unknown to the cluster",
            next_step="log in again, or ask the cluster's admin for a new kubeconfig",
        )
    if answer.status_code >= 500:
        raise TargetUnavailable(
            f"the API server of {description.kubeconfig} does not answer: {answer.text.strip()[:300]}",
            next_step="is it up, and does `kubectl get --raw /readyz` work?",
        )
