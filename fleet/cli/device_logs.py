"""`fleet device logs`."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.context import DeviceArgument, NamespaceOption, cluster, installed, read, trusted
from fleet.cli.output import Output, OutputOption, progress
from fleet.cli.standing import status_of
from fleet.contract.announcement import text_of
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import InvalidInput, NotInstalled, Unreachable
from fleet.contract.logs import LOG_READER_KEY, LOG_READER_SECRET, MAX_SINCE, MAX_TAIL, LogAsk, LogPiece
from fleet.contract.names import DeploymentName, DeviceId
from fleet.contract.objects import Device, ServerInfo
from fleet.process import console

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _since(word: str) -> str:
    if word and not 0 < duration(word) <= MAX_SINCE:
        raise typer.BadParameter(f"{word[:80]!r} is no time of up to 31 days, such as 30s, 10m, 2h or 1d.")
    return word


def duration(word: str) -> float:
    """Seconds of a duration such as `10m`; 0 where it is none."""
    found = re.fullmatch(r"(\d{1,7})([smhd])", word, re.ASCII)
    return float(found[1]) * _SECONDS[found[2]] if found else 0.0


def logs(
    device: DeviceArgument,
    deployment: Annotated[
        str, typer.Option(metavar="NAME", help="of a workload; without it, the agent's own log")
    ] = "",
    container: Annotated[
        str, typer.Option(metavar="NAME", help="which one, where a deployment has several on the device")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="not older than this, such as 30s, 10m, 2h or 1d", callback=_since)
    ] = "",
    tail: Annotated[int, typer.Option(min=0, max=MAX_TAIL, metavar="N", help="at most N lines of the past")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="and what is written from now on")] = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Read the log of a workload or of the agent, over the connection that the device holds; nothing listens there.

    What a device cannot send in time is left out, and counted on standard error. With --output json each line is an
    object. You need the right to get the Secret fleet-log-reader.

    \b
    Examples:
      fleet device logs pi-1
      fleet device logs pi-1 --deployment web --since 10m --tail 1000
      fleet device logs pi-1 --deployment web --follow
    """  # noqa: D301
    import asyncio  # noqa: PLC0415

    name = DeviceId(device)
    if container and not deployment:
        raise InvalidInput("--container is one of a deployment", next_step="give --deployment, too")
    ask = LogAsk(
        "to-be-made", str(DeploymentName(deployment)) if deployment else "", container, duration(since), tail, follow
    )
    kube = cluster()
    server = installed(kube, namespace)
    online, reason = status_of(read(kube, Device, name, namespace), "Online")
    if online == "False":
        raise Unreachable(f"{name} is offline ({reason})", next_step=f"see `fleet device show {name}`")
    password = log_password(kube, namespace)
    trusted(kube, namespace, server)
    asyncio.run(_print(server, password, name, ask, output))


async def _print(server: ServerInfo, password: str, device: DeviceId, ask: LogAsk, output: Output) -> None:
    from fleet.cli.log_reader import Reading, reader  # noqa: PLC0415

    async with reader(server, password) as bus:
        async for piece in Reading(bus, device, ask).pieces():
            show(piece, output)


def show(piece: LogPiece, output: Output) -> None:
    """Print a piece: its lines on standard output, what is missing and why it ends on standard error."""
    missing = [f"dropped {piece.dropped} lines"] if piece.dropped else []
    missing += ["dropped lines that nobody counted"] if piece.skipped else []
    ended = [piece.message] if piece.ended and piece.message else []
    if output is Output.JSON:
        notes = [json.dumps({"dropped": piece.dropped, "uncounted": piece.skipped})] if missing else []
        console.answer(*notes, *(json.dumps({"line": line}) for line in piece.lines))
    else:
        progress(*missing)
        console.answer(*piece.lines)
    progress(*ended)


def log_password(kube: KubeClient, namespace: str) -> str:
    """The password of the log reader; a secret.

    Raises:
        NotInstalled: the server is of a release without.
        NotPermitted: we may not have it.
        InvalidInput: it was changed by hand to something that is no password.
    """
    secret = kube.find("Secret", LOG_READER_SECRET, namespace)
    kept = text_of(secret or {}, LOG_READER_KEY)
    if not kept:
        raise NotInstalled(
            f"the server in {namespace} lets nobody read logs: it has no Secret {LOG_READER_SECRET} with a password",
            next_step="run `fleet server install` of this release again",
        )
    try:
        return base64.b64decode(kept).decode()
    except ValueError:
        raise InvalidInput(
            f"the Secret {LOG_READER_SECRET} was changed by hand: it holds no password",
            next_step="run `fleet server install` of this release again; it writes that Secret anew",
        ) from None
