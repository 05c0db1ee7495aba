"""`fleet doctor`."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

import msgspec

from fleet.cli.context import NamespaceOption, cluster, installed, place, read_all, trusted
from fleet.cli.invalid import Invalid
from fleet.cli.output import Output, OutputOption, answer, progress
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import FleetError
from fleet.contract.objects import Device, FleetDeployment, ServerInfo

if TYPE_CHECKING:
    from fleet.doctor.findings import Finding
    from fleet.kube.client import KubeClient
    from fleet.secrets.store import SecretStore

_PATIENCE = 10.0
_BEHIND_NATS = frozenset({"streams", "disk"})
"""Checks that need NATS."""


def doctor(namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE) -> None:
    """Check every part of a server from here: names, TLS and its dates, clocks, keys, releases, rights, disk, devices.

    Nothing is changed. The streams and the disk of NATS, the logins of registries, and the login at the OpenBao of
    workloads, are looked at where you may read the Secrets that this takes; else that is a warning. Each finding has
    its next step. Ends with code 1 when a check failed; a warning is no failure.

    \b
    Examples:
      fleet doctor
      fleet doctor --output json
    """  # noqa: D301
    report(findings(namespace), output)


def report(seen: list[Finding], output: Output) -> None:
    """Print what was found.

    Raises:
        FleetError: a check failed.
    """
    from fleet.doctor.findings import lines  # noqa: PLC0415

    answer(output, [msgspec.to_builtins(finding) for finding in seen], lines(seen))
    failed = [finding.check for finding in seen if finding.state.value == "failed"]
    if failed:
        raise FleetError(
            f"{len(failed)} of {len(seen)} checks failed: {', '.join(failed)}",
            next_step="correct the first one, then check again: the others may be its consequences",
        )


def findings(namespace: str) -> list[Finding]:
    """Run every possible check; a check is left out if one that it builds on has failed."""
    from fleet.doctor.findings import State, found  # noqa: PLC0415

    made: list[Finding] = []
    known: list[ServerInfo] = []
    kubes: list[KubeClient] = []

    def check_server() -> str:
        kubes.append(cluster())
        known.append(installed(kubes[0], namespace))
        return f"a server is announced in {namespace} of {kubes[0].host}"

    made.append(found("server", check_server))
    if made[0].state is State.FAILED:
        return made
    for name, look in _checks(kubes[0], known[0], namespace).items():
        if name in _BEHIND_NATS and any(finding.check == "nats" and finding.state is State.FAILED for finding in made):
            continue
        progress(f"looking at {name}")
        made.append(found(name, look))
    return made


def _checks(kube: KubeClient, server: ServerInfo, namespace: str) -> dict[str, Callable[[], str]]:
    import asyncio  # noqa: PLC0415 - it takes long to load

    from fleet.doctor import cluster as kubernetes  # noqa: PLC0415
    from fleet.doctor import identity, nats, openbao, registries, streams  # noqa: PLC0415
    from fleet.topology.capabilities import PlaceRequest  # noqa: PLC0415

    request = PlaceRequest(namespace=namespace, timeout=_PATIENCE, progress=progress)

    def of_nats(look: Callable[[ServerInfo, SecretStore], Coroutine[object, object, str]]) -> str:
        trusted(kube, namespace, server)  # before a password is sent
        return asyncio.run(look(server, place(request).secrets))

    def all_deployments() -> list[FleetDeployment]:
        return read_all(kube, FleetDeployment, namespace)

    def valid() -> list[FleetDeployment]:
        """An invalid one names no image and no Secret that is known."""
        return [deployment for deployment in all_deployments() if not isinstance(deployment, Invalid)]

    return {
        "release": lambda: kubernetes.check_release(server),
        "definitions": lambda: kubernetes.check_definitions(kube),
        "rights": lambda: kubernetes.check_rights(kube, namespace),
        "parts": lambda: kubernetes.check_parts(place(request).services()),
        "nats": lambda: nats.check_nats(server.nats_url, server.ca, time.time()),
        "streams": lambda: of_nats(streams.check_streams),
        "disk": lambda: of_nats(streams.check_disk),
        "issuer": lambda: identity.check_discovery(server.issuer, server.ca),
        "keys": lambda: identity.check_keys(server.issuer, server.ca),
        "devices": lambda: kubernetes.check_devices(read_all(kube, Device, namespace)),
        "deployments": lambda: kubernetes.check_deployments(all_deployments()),
        "registries": lambda: registries.check_registries(kube, namespace, valid(), time.time()),
        "openbao": lambda: openbao.check_openbao(kube, namespace, valid(), time.time()),
    }
