"""`fleet agent new-key|build|sign|publish|list|show|prune`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.cli.context import NamespaceOption, cluster, installed, read_all
from fleet.cli.invalid import refuse_invalid
from fleet.cli.output import Output, OutputOption, answer, details, progress, table
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import Conflict, InvalidInput, NotFound, NotPermitted
from fleet.contract.names import AgentVersion
from fleet.contract.objects import Device

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeVar

    from fleet.artifacts.catalogue import Published
    from fleet.artifacts.keys import ReleaseKey
    from fleet.artifacts.layer import Target
    from fleet.contract.upgrade import Manifest
    from fleet.nats.blobs import Blobs

    R = TypeVar("R")

app = typer.Typer(help="Build, sign and publish the agents of devices.", no_args_is_help=True, rich_markup_mode=None)

ArtifactArgument = Annotated[Path, typer.Argument(metavar="FILE", help="what `fleet agent build` wrote")]
KeyOption = Annotated[Path, typer.Option(metavar="FILE", help="the private release key; stays where agents are built")]
_DAY = 24 * 3600


@app.command()
def new_key(
    out: Annotated[Path, typer.Option(metavar="FILE", help="where the private key goes, mode 0600")],
    trusted_keys: Annotated[
        Path, typer.Option(metavar="FILE", help="the list for devices; the new key is added to those in it")
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a release key, and add it to the keys that devices are to trust.

    To follow a key by another one: add the new one, set the devices up again with the list, then sign with the new one.

    \b
    Example:
      fleet agent new-key --out release.key --trusted-keys trusted-keys.json
    """  # noqa: D301
    from fleet.artifacts.keys import ReleaseKey  # noqa: PLC0415
    from fleet.artifacts.trusted import render  # noqa: PLC0415
    from fleet.contract.upgrade import TrustedKeys  # noqa: PLC0415
    from fleet.install.first_agent import load_trusted  # noqa: PLC0415

    if out.exists():
        raise Conflict(f"--out {out} exists, and a key is never replaced", next_step="give another file name")
    known = load_trusted(trusted_keys) if trusted_keys.exists() else TrustedKeys(())
    key = ReleaseKey.new()
    _write(out, key.render(), 0o600)
    listed = msgspec.structs.replace(known, keys=(*known.keys, key.public))
    _write(trusted_keys, render(listed), 0o644)
    value = {"keyId": key.public.id, "key": str(out), "trustedKeys": str(trusted_keys)}
    answer(output, value, f"release key {key.public.id}: {out} is secret, {trusted_keys} goes to devices")


@app.command()
def build(
    version: Annotated[str, typer.Option(metavar="VERSION", help="v and a semantic version, such as v0.1.2")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="the folder for the agent and its manifest")] = Path(),
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the private release key; without, `fleet agent sign` follows")
    ] = None,
    valid_for: Annotated[
        int, typer.Option(min=0, metavar="DAYS", help="days after which devices do not take it any more; 0: for ever")
    ] = 0,
    architecture: Annotated[list[str], typer.Option(metavar="NAME", help="as `uname -m` has it; default: all")] = [],  # noqa: B006
    python: Annotated[list[str], typer.Option(metavar="X.Y", help="a version of Python; default: all")] = [],  # noqa: B006
    output: OutputOption = Output.TABLE,
) -> None:
    """Build the agent of this checkout: one file, the same bytes from the same sources, with its manifest beside it.

    \b
    Examples:
      fleet agent build --version v0.1.2 --key release.key
      fleet agent build --version v0.1.2 --architecture aarch64 --python 3.11
    """  # noqa: D301
    from fleet.artifacts.keys import ReleaseKey  # noqa: PLC0415
    from fleet.artifacts.layer import ARCHITECTURES, PYTHONS, Target  # noqa: PLC0415
    from fleet.artifacts.manifest import describe, manifest_path, sign, unsigned  # noqa: PLC0415
    from fleet.contract.wire import encode  # noqa: PLC0415

    wanted = AgentVersion(version)
    if "+" in wanted:
        raise InvalidInput(
            f"{wanted} has build metadata, which no unit's name can hold",
            next_step="leave out the '+' and what follows",
        )
    signer = ReleaseKey.load(key) if key else None
    target = Target(tuple(architecture) or ARCHITECTURES, tuple(python) or PYTHONS)
    target.check()
    artifact = _built(wanted, out, target)
    manifest = describe(artifact, wanted, target, not_after=time.time() + valid_for * _DAY if valid_for else 0)
    _write(manifest_path(artifact), encode(sign(manifest, signer) if signer else unsigned(manifest)), 0o644)
    value = {"artifact": str(artifact), "signedBy": signer.public.id if signer else "", **_shown(manifest)}
    signature = f"signed by {signer.public.id}" if signer else "not signed yet; next: fleet agent sign"
    answer(output, value, f"{artifact}: {manifest.size} bytes, {manifest.digest}, {signature}")


@app.command()
def sign(artifact: ArtifactArgument, key: KeyOption, output: OutputOption = Output.TABLE) -> None:
    """Sign an agent that was built elsewhere, after seeing that it is what its manifest says.

    \b
    Example:
      fleet agent sign fleet-agent-v0.1.2 --key release.key
    """  # noqa: D301
    from fleet.artifacts.keys import ReleaseKey  # noqa: PLC0415
    from fleet.artifacts.manifest import manifest_path  # noqa: PLC0415
    from fleet.artifacts.manifest import sign as signed  # noqa: PLC0415
    from fleet.artifacts.verify import check_file, read_manifest  # noqa: PLC0415
    from fleet.contract.wire import encode  # noqa: PLC0415

    signer: ReleaseKey = ReleaseKey.load(key)
    _, manifest = read_manifest(_manifest_beside(artifact))
    check_file(artifact, manifest)
    _write(manifest_path(artifact), encode(signed(manifest, signer)), 0o644)
    value = {"artifact": str(artifact), "signedBy": signer.public.id, **_shown(manifest)}
    answer(output, value, f"{manifest.version} is signed by {signer.public.id}")


@app.command()
def publish(
    artifact: ArtifactArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """Publish a signed agent for the devices of a server. A repeat changes nothing; a version never changes.

    \b
    Example:
      fleet agent publish fleet-agent-v0.1.2
    """  # noqa: D301
    from fleet.artifacts.catalogue import publish as put  # noqa: PLC0415
    from fleet.artifacts.verify import read_manifest  # noqa: PLC0415

    data = _manifest_beside(artifact)
    signed, manifest = read_manifest(data)
    if not signed.signature:
        raise InvalidInput(f"{artifact} is not signed, and no device would take it", next_step="`fleet agent sign` it")
    changed = _with_blobs(namespace, lambda blobs: put(blobs, artifact, data, progress))
    value = {"changed": changed, "signedBy": signed.key_id, **_shown(manifest)}
    what = "is published" if changed else "was published already; nothing changed"
    answer(output, value, (f"{manifest.version} {what}", f"next: fleet device upgrade ID --to {manifest.version}"))


@app.command("list")
def list_agents(namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE) -> None:
    """List the published agents, oldest first.

    \b
    Example:
      fleet agent list
    """  # noqa: D301
    found = _published(namespace)
    rows = [
        [
            agent.version,
            agent.manifest.size if agent.manifest else "-",
            ",".join(agent.manifest.architectures) or "any" if agent.manifest else "-",
            f">={agent.manifest.minimum_python}" if agent.manifest else "-",
            agent.key_id or "-",
            agent.why,
        ]
        for agent in found
    ]
    headings = ["VERSION", "BYTES", "ARCHITECTURES", "PYTHON", "KEY", "FAULT"]
    text = table(headings, rows) if found else "no agents"
    answer(output, [_listed(agent) for agent in found], text)


@app.command()
def show(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="a published version")],
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one published agent.

    \b
    Example:
      fleet agent show v0.1.2
    """  # noqa: D301
    wanted = AgentVersion(version)
    found = next((agent for agent in _published(namespace) if agent.version == wanted), None)
    if found is None:
        raise NotFound(f"{wanted} is not published", next_step="see `fleet agent list`")
    answer(output, _listed(found), details([(name, value) for name, value in _listed(found).items() if value != ""]))


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=0, metavar="N", help="how many of the newest versions stay")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take old versions away from the server. What a device runs, may go back to, or is ordered to run always stays.

    While this cannot be told of a device, because it has never reported, nothing is taken away. Devices keep their own
    copies whatever is done here.

    \b
    Examples:
      fleet agent prune --keep 5 --dry-run
      fleet agent prune --keep 5
    """  # noqa: D301
    from fleet.artifacts.catalogue import prune as take_away  # noqa: PLC0415
    from fleet.artifacts.needed import needed_versions  # noqa: PLC0415

    kube = cluster()
    installed(kube, namespace)
    known = read_all(kube, Device, namespace)
    refuse_invalid(known)
    needed = needed_versions(known)
    gone = _with_blobs(namespace, lambda blobs: take_away(blobs, keep, needed, progress, dry_run=dry_run))
    what = "would be taken away" if dry_run else "taken away"
    value = {"removed": [] if dry_run else gone, "surplus": gone, "needed": sorted(needed)}
    answer(output, value, f"{what}: {', '.join(gone) or 'nothing'}")


def _built(version: AgentVersion, out: Path, target: Target) -> Path:
    try:
        from fleet.artifacts.build import build as make  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise NotFound(
            f"building an agent needs {error.name}, which is not installed", next_step="pip install 'fleet[build]'"
        ) from error
    return make(version, out, target)


def _manifest_beside(artifact: Path) -> bytes:
    from fleet.artifacts.manifest import manifest_path  # noqa: PLC0415

    try:
        artifact.stat()
        return manifest_path(artifact).read_bytes()
    except OSError as error:
        raise NotFound(
            f"cannot read {error.filename}: {error.strerror}",
            next_step="give what `fleet agent build` wrote; the manifest lies beside it",
        ) from error


def _with_blobs(namespace: str, act: Callable[[Blobs], Awaitable[R]]) -> R:
    """Act as the publisher; who may read the server's secrets is one."""
    import asyncio  # noqa: PLC0415

    from fleet.cli.publisher import publisher  # noqa: PLC0415

    async def run() -> R:
        async with publisher(namespace) as blobs:
            return await act(blobs)

    return asyncio.run(run())


def _published(namespace: str) -> list[Published]:
    from fleet.artifacts.catalogue import published  # noqa: PLC0415

    return _with_blobs(namespace, published)


def _shown(manifest: Manifest) -> dict[str, Any]:
    shown = msgspec.to_builtins(manifest, enc_hook=str)
    return {name: value for name, value in shown.items() if name not in {"type", "chunks"}}


def _listed(agent: Published) -> dict[str, Any]:
    known = _shown(agent.manifest) if agent.manifest else {"version": agent.version}
    return {**known, "signedBy": agent.key_id, "fault": agent.why}


def _write(path: Path, data: bytes, mode: int) -> None:
    from fleet.process.durable import replace_file  # noqa: PLC0415

    try:
        replace_file(path, data, mode, shared=True)
    except OSError as error:
        raise NotPermitted(
            f"cannot write {path}: {error.strerror}", next_step="free space or choose another file"
        ) from error
