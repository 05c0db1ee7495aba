"""`fleet support-bundle`: one file for support, without secrets."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.cli.context import NamespaceOption, cluster, installed, trusted
from fleet.cli.device_logs import log_password
from fleet.cli.doctor import findings
from fleet.cli.output import Output, OutputOption, answer, progress
from fleet.cli.redact import redacted, values_of, without_values
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import FleetError, InvalidInput, why
from fleet.contract.logs import MAX_TAIL, LogAsk
from fleet.contract.names import DeviceId
from fleet.contract.printable import lines as printable
from fleet.contract.revision import DEPLOYMENT
from fleet.process.failures import in_words
from fleet.version import VERSION

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

_KINDS = {
    "devices": ("Device", ""),
    "deployments": ("FleetDeployment", ""),
    "revisions": ("ControllerRevision", f"labelSelector={DEPLOYMENT}"),
    "events": ("Event", ""),
    "pods": ("Pod", "labelSelector=app.kubernetes.io%2Fpart-of%3Dfleet"),
}
_LOG_LINES = 5000


def support_bundle(
    out: Annotated[Path, typer.Option(metavar="FILE", help="where it goes, a .tar.gz; mode 0600")],
    device: Annotated[
        list[str], typer.Option(metavar="ID", help="with the log of this device's agent; may be repeated")
    ] = [],  # noqa: B006
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put together what somebody who helps needs: objects, events, revisions, findings, versions and logs.

    No Secret is read, but for the password of the logs that you ask for. What workloads are given (environment, files,
    commands) is taken out wherever it stands, and so is what looks like a secret. Read it before you send it. What
    could not be had is named in it.

    \b
    Examples:
      fleet support-bundle --out fleet.tar.gz
      fleet support-bundle --out fleet.tar.gz --device pi-1 --device pi-2
    """  # noqa: D301
    names = [DeviceId(one) for one in device]
    if out.exists():
        raise _there_already(out)
    if not os.access(out.absolute().parent, os.W_OK | os.X_OK):
        raise InvalidInput(f"no file can be written in {out.absolute().parent}", next_step="give --out another folder")
    kube = cluster()
    server = installed(kube, namespace)
    parts = _Parts()
    held = parts.objects(kube, namespace)
    parts.add("server.json", lambda: _json(msgspec.to_builtins(server)))
    parts.add("doctor.json", lambda: _json([msgspec.to_builtins(finding) for finding in findings(namespace)]))
    for pod in held.get("pods", []):
        name = pod["metadata"]["name"]
        parts.add(f"logs/{name}.log", lambda name=name: kube.log(name, namespace, _LOG_LINES))
    for name in names:
        parts.add(f"logs/{name}.log", lambda name=name: _agent_log(kube, namespace, name))
    values = values_of([*held.get("deployments", []), *held.get("revisions", [])])
    _write(out, {name: redacted(text, values) for name, text in parts.finished().items()})
    value = {"file": str(out), "parts": sorted(parts.texts), "missing": parts.missing}
    missing = [f"missing: {name}: {reason}" for name, reason in parts.missing.items()]
    answer(output, value, [f"{out} holds {len(parts.texts)} parts; read it before you send it", *missing])


class _Parts:
    """The content, by file; if one cannot be read, the others remain."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def add(self, name: str, get: Callable[[], str]) -> None:
        progress(f"getting {name}")
        try:
            self.texts[name] = get()
        except FleetError as error:
            self.missing[name] = why(error)

    def objects(self, kube: KubeClient, namespace: str) -> dict[str, list[Json]]:
        """Our objects and related ones; the values of workloads are removed."""
        held: dict[str, list[Json]] = {}
        for name, (kind, query) in _KINDS.items():

            def get(name: str = name, kind: str = kind, query: str = query) -> str:
                held[name] = [json.loads(text) for text in kube.list_raw(kind, namespace, query)]
                return _json([without_values(item) for item in held[name]])

            self.add(f"{name}.json", get)
        return held

    def finished(self) -> dict[str, str]:
        """All of it, with what it is."""
        made = {"fleet": VERSION, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "missing": self.missing}
        return {**self.texts, "bundle.json": _json(made)}


def _agent_log(kube: KubeClient, namespace: str, name: DeviceId) -> str:
    import asyncio  # noqa: PLC0415

    server = installed(kube, namespace)
    password = log_password(kube, namespace)
    trusted(kube, namespace, server)

    async def read() -> list[str]:
        from fleet.cli.log_reader import Reading, reader  # noqa: PLC0415

        async with reader(server, password) as bus:
            ask = LogAsk("to-be-made", "", "", 0, MAX_TAIL, follow=False)
            return [line async for piece in Reading(bus, name, ask).pieces() for line in piece.lines]

    return "\n".join(asyncio.run(read()))


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


def _write(out: Path, texts: dict[str, str]) -> None:
    import tarfile  # noqa: PLC0415 - for those who use it

    from fleet.process.durable import write_new  # noqa: PLC0415

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in sorted(texts.items()):
            data = printable(text).encode(errors="replace")
            entry = tarfile.TarInfo(f"{out.name.removesuffix('.tar.gz')}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    try:
        write_new(out, packed.getvalue(), 0o600)
    except FileExistsError:
        raise _there_already(out) from None
    except OSError as error:
        size = -(-len(packed.getvalue()) // 1024)
        raise InvalidInput(
            f"cannot write {out} ({size} KiB): {in_words(error)}; nothing was left there",
            next_step="free space there, or give --out another place",
        ) from error


def _there_already(out: Path) -> InvalidInput:
    return InvalidInput(f"{out} is there already", next_step="give --out a file that is not")
