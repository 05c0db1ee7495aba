"""What must be known of a cluster that is only visited: a file, variables, and the whole list of what is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.grammar import NatsUrl
from fleet.contract.written import Written, nearest
from harness.devices.lab import Lab
from harness.devices.lab_file import PATHS, anchored
from harness.errors import TargetUnavailable

Kind = Literal["staging", "production"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SEE = "see docs/targets.md for an example"
_PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`")


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must be known of a cluster.

    Attributes:
        kubeconfig: Path of a kubeconfig; whatever `kubectl` can log in with.
        namespace: Where the fleet server is installed.
        issuer: The identity provider's URL.
        issuer_ca: Path of the PEM file that its certificate is checked against.
        context: Which of the kubeconfig's contexts; empty: its current one.
        admin_token_file: Path of a file with a personal access token of the provider's administrator.
        admin_client_id: The OIDC client with which a person signs in instead.
        approve_command: A program that signs in at the provider and allows the device code that it gets as its last
            argument; empty: a person at the terminal does.
        exposure: The URL, `tls://HOST:PORT`, at which devices reach the server's NATS; empty: as the server says.
        lease_seconds: How long after a crash of this run the next one has to wait.
        lab: The machines that may be set up as devices.
    """

    kubeconfig: Path
    namespace: str
    issuer: str
    issuer_ca: Path
    context: str = ""
    admin_token_file: Path | None = None
    admin_client_id: str = ""
    approve_command: tuple[str, ...] = ()
    exposure: NatsUrl = ""
    lease_seconds: Annotated[int, msgspec.Meta(ge=2, le=3600)] = 60
    lab: Lab = Lab()


_NEEDED = ("kubeconfig", "namespace", "issuer", "issuer_ca")


def describe(kind: Kind, file: str, environ: Mapping[str, str] = os.environ) -> Description:
    """Read the file, if one was named, and the variables, which win over it: `FLEET_STAGING_KUBECONFIG` and so on.

    A relative path in the file starts at the file's folder.

    Raises:
        TargetUnavailable: something is missing, unreadable or of the wrong form; the message lists all of it.
    """
    prefix = f"FLEET_{kind.upper()}_"
    written = _from_file(Path(file)) if file else None
    given = cast("dict[str, Any]", anchored(written.value, Path(file).parent, _PATHS)) if written else {}
    simple = [field for field in Description.__struct_fields__ if field not in {"lab", "approve_command"}]
    for field in simple:
        if value := environ.get(prefix + field.upper()):
            given[field] = value
    problems = _unknown(environ, prefix, simple) + _missing(kind, given, prefix)
    of_variables = [field for field in simple if environ.get(prefix + field.upper())]
    description = None if problems else _typed(given, problems, written, of_variables)
    problems += _unreadable(given, description)
    if problems or description is None:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise TargetUnavailable(
            f"{kind} was asked for, and its description{f' {file}' if file else ''} is not complete:\n{listed}",
            next_step=f"--fleet-target {kind}:FILE, or the variables; {_SEE}",
        )
    return description


def _from_file(file: Path) -> Written:
    try:
        written = Written(file.read_bytes(), f"the description {file}", next_step=_SEE)
        written.check(Description)
    except OSError as error:
        raise TargetUnavailable(f"the description {file} cannot be read: {error}", next_step=_SEE) from error
    except InvalidInput as error:
        raise TargetUnavailable("\n".join([error.what, *error.more]), next_step=_SEE) from error
    if not isinstance(written.value, dict):
        raise TargetUnavailable(f"the description {file} holds no fields", next_step=_SEE)
    return written


_PATHS = ("kubeconfig", "issuer_ca", "admin_token_file", *PATHS)


def _unknown(environ: Mapping[str, str], prefix: str, fields: list[str]) -> list[str]:
    variables = [prefix + field.upper() for field in fields]
    strange = sorted(name for name in environ if name.startswith(prefix) and name not in variables)
    return [f"{name}: no such variable; did you mean {nearest(name, variables)}?" for name in strange]


def _missing(kind: Kind, given: Mapping[str, Any], prefix: str) -> list[str]:
    problems = [f"{field}: not given ({prefix}{field.upper()})" for field in _NEEDED if not given.get(field)]
    if kind == "staging":
        if not (given.get("admin_token_file") or given.get("admin_client_id")):
            both = f"{prefix}ADMIN_TOKEN_FILE, {prefix}ADMIN_CLIENT_ID"
            problems.append(f"admin_token_file or admin_client_id: neither is given ({both})")
        if not given.get("lab"):
            problems.append("lab: no machine is described that may become a device (in the file)")
    return problems


def _typed(
    given: Mapping[str, Any], problems: list[str], written: Written | None, of_variables: Sequence[str]
) -> Description | None:
    def convert(value: object) -> Description:
        # Not strict: a variable is text, also where a number is meant.
        return msgspec.convert(value, Description, strict=False, dec_hook=lambda _, value: Path(value))

    try:
        return convert(given)
    except msgspec.ValidationError as error:
        match = _PLACE.search(str(error))
        place = match["place"] if match else "it"
        problem = ""
        if written is not None and place.partition(".")[0] not in of_variables:
            problem = written.problem(lambda value: convert({**given, **cast("dict[str, Any]", value)}))
        problems.append(problem or f"{place}: {_PLACE.sub('', str(error))}")
        return None


def _unreadable(given: Mapping[str, Any], description: Description | None) -> list[str]:
    named = {field: Path(path) for field in _PATHS if isinstance(path := given.get(field), str) and path}
    for board, address in (description.lab.boards if description else {}).items():
        named |= {f"lab.boards.{board}.key": address.key, f"lab.boards.{board}.known_hosts": address.known_hosts}
    return [f"{field}: {path} cannot be read" for field, path in named.items() if not _readable(path)]


def _readable(path: Path) -> bool:
    try:
        return os.access(path, os.R_OK)
    except ValueError:
        return False  # a path with a NUL in it
