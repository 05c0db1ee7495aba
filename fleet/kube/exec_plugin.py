"""Credentials from a plugin that a kubeconfig names: `aws eks get-token`, `kubelogin` and their like.

The protocol is client.authentication.k8s.io, v1 and v1beta1 (kubernetes.io, "client-go credential plugins").
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import msgspec

from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.contract.parsing import NOT_JSON
from fleet.kube.kubeconfig import Access, Plugin

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Credential(msgspec.Struct, frozen=True, rename="camel"):
    """What a plugin gave: a token, or a certificate with its key, or both; secrets. Empty times never expire."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None

    def __repr__(self) -> str:
        return "Credential(...)"

    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expiration_timestamp is not None and self.expiration_timestamp <= datetime.now(UTC)


class _Answer(msgspec.Struct, rename="camel"):
    api_version: str
    status: Credential


def ask(access: Access, plugin: Plugin) -> Credential:
    """Run the plugin; what it writes to standard error is for the person at the terminal.

    Raises:
        InvalidInput: it is not there, or does not speak a protocol that we do.
        NotPermitted: it gave nothing.
    """
    if plugin.api_version not in _VERSIONS:
        raise InvalidInput(
            f"the kubeconfig's plugin {plugin.command} is to speak {plugin.api_version}",
            next_step=f"write the kubeconfig again: {' and '.join(_VERSIONS)} are understood",
        )
    interactive = sys.stdin.isatty() and plugin.interactive_mode != "Never"
    if plugin.interactive_mode == "Always" and not interactive:
        raise NotPermitted(
            f"the kubeconfig's plugin {plugin.command} asks a person, and there is no terminal",
            next_step="run it at a terminal, or use a kubeconfig with a token",
        )
    answer = _parse(plugin, _run(plugin, _environment(access, plugin, interactive=interactive), interactive))
    if not answer.token and not (answer.client_certificate_data and answer.client_key_data):
        raise NotPermitted(f"the kubeconfig's plugin {plugin.command} gave no credentials", next_step=_try(plugin))
    return answer


def _environment(access: Access, plugin: Plugin, *, interactive: bool) -> dict[str, str]:
    spec: dict[str, object] = {"interactive": interactive}
    if plugin.provide_cluster_info:
        spec["cluster"] = {
            "server": access.url,
            "tls-server-name": access.server_name,
            "insecure-skip-tls-verify": access.insecure,
            "certificate-authority-data": access.ca.encode(),
            "proxy-url": access.proxy,
        }
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    given = {variable.name: variable.value for variable in plugin.env or ()}
    return {**os.environ, **given, "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}


def _run(plugin: Plugin, env: dict[str, str], interactive: bool) -> bytes:
    argv = [plugin.command, *(plugin.args or ())]
    try:
        done = subprocess.run(
            argv, env=env, stdin=None if interactive else subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
        )
    except OSError as error:
        hint = plugin.install_hint.strip() or f"install {plugin.command}, or use another kubeconfig"
        raise InvalidInput(
            f"the kubeconfig's plugin {plugin.command} cannot be run: {error.strerror}", next_step=hint
        ) from error
    if done.returncode != 0:
        raise NotPermitted(
            f"the kubeconfig's plugin {plugin.command} ended with code {done.returncode}", next_step=_try(plugin)
        )
    return done.stdout


def _parse(plugin: Plugin, printed: bytes) -> Credential:
    try:
        answer = msgspec.json.decode(printed, type=_Answer)
    except NOT_JSON as error:
        raise InvalidInput(
            f"the kubeconfig's plugin {plugin.command} printed no ExecCredential", next_step=_try(plugin)
        ) from error
    if answer.api_version != plugin.api_version:
        raise InvalidInput(
            f"the kubeconfig's plugin {plugin.command} answered in {answer.api_version}, not {plugin.api_version}",
            next_step="write the kubeconfig again with the plugin's own command",
        )
    return answer.status


def _try(plugin: Plugin) -> str:
    return f"see whether it logs you in by itself: {' '.join([plugin.command, *(plugin.args or ())])}"
