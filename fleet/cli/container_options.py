"""The options of `fleet deployment apply` that say what a container may use of a device, and what it finds there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from fleet.cli.context import pairs
from fleet.contract.confinement import HostDevice, Network, PullPolicy, Ulimit, UpdateOrder
from fleet.contract.errors import InvalidInput
from fleet.contract.limits import MAX_CONTENT
from fleet.contract.mounts import File, Mount
from fleet.contract.sealed import FromSecret
from fleet.contract.wire import from_builtins
from fleet.contract.workload import EnvName

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_SIZE = re.compile(r"(\d{1,15})([kmg]?)i?b?", re.IGNORECASE)


def _repeated(option: str, metavar: str, text: str) -> Any:  # noqa: ANN401 - as typer has it
    return typer.Option(option, metavar=metavar, help=f"{text}; repeatable, '' for none")


def _text(option: str, metavar: str, text: str) -> Any:  # noqa: ANN401 - as typer has it
    return typer.Option(option, metavar=metavar, help=text)


VolumeOption = Annotated[
    list[str], _repeated("--volume", "NAME|FOLDER:PATH[:ro]", "a volume, or a folder that the device's owner allows")
]
TmpfsOption = Annotated[list[str], _repeated("--tmpfs", "PATH[:SIZE]", "memory as a folder")]
ConfigFileOption = Annotated[
    list[str], _repeated("--config-file", "FILE:PATH[:MODE]", "a file of yours, for the container to read")
]
SecretEnvOption = Annotated[
    list[str], _repeated("--secret-env", "NAME=SECRET/KEY", "a variable from a Secret that is marked as sealable")
]
SecretFileOption = Annotated[
    list[str], _repeated("--secret-file", "PATH=SECRET/KEY[:MODE]", "a file from such a Secret; in memory")
]
PullSecretOption = Annotated[
    str | None, _text("--image-pull-secret", "SECRET", "such a Secret with the login at the image's registry")
]
UlimitOption = Annotated[list[str], _repeated("--ulimit", "NAME=SOFT[:HARD]", "a limit of each process")]
DeviceOption = Annotated[list[str], _repeated("--device", "NODE[:PATH[:rwm]]", "a device node, such as /dev/ttyUSB0")]
CapAddOption = Annotated[list[str], _repeated("--cap-add", "NAME", "a capability more")]
CapDropOption = Annotated[list[str], _repeated("--cap-drop", "NAME", "a capability less; ALL")]
SecurityOption = Annotated[list[str], _repeated("--security-opt", "OPTION", "such as no-new-privileges")]
LabelOption = Annotated[list[str], _repeated("--container-label", "KEY=VALUE", "a label of the container")]
HostOption = Annotated[list[str], _repeated("--add-host", "NAME=ADDRESS", "a line of its /etc/hosts")]
DnsOption = Annotated[list[str], _repeated("--dns", "ADDRESS", "a name server")]
MemoryOption = Annotated[str | None, _text("--memory", "SIZE", "the most memory, such as 256M; 0 for no limit")]
ShmOption = Annotated[str | None, _text("--shm-size", "SIZE", "of /dev/shm; 0 for the engine's own")]
UserOption = Annotated[str | None, _text("--user", "USER[:GROUP]", "instead of the image's")]
FolderOption = Annotated[str | None, _text("--workdir", "PATH", "the folder that it begins in")]
HostnameOption = Annotated[str | None, _text("--hostname", "NAME", "its host name")]
SignalOption = Annotated[str | None, _text("--stop-signal", "SIGNAL", "asks it to end, such as SIGINT")]
LogOption = Annotated[
    str | None, _text("--log", "SIZE[:FILES]", "how much of its output is kept; 10000000:3 if never given")
]
PlatformOption = Annotated[str | None, _text("--platform", "OS/ARCH", "of the image")]
CpusOption = Annotated[float | None, typer.Option("--cpus", min=0, metavar="N", help="cores; 0 for no limit")]
PidsOption = Annotated[int | None, typer.Option("--pids", min=0, metavar="N", help="processes; 0 for no limit")]
GraceOption = Annotated[int | None, typer.Option("--stop-grace", min=0, metavar="SECONDS", help="until SIGKILL")]
OrderOption = Annotated[UpdateOrder | None, typer.Option("--update-order", help="Recreate if never given")]
DeadlineOption = Annotated[
    int | None,
    typer.Option(
        "--update-deadline", min=0, metavar="SECONDS", help="until what is not well gives way to what ran before"
    ),
]
ReadOnlyOption = Annotated[bool | None, typer.Option("--read-only/--no-read-only", help="the image's files")]
PrivilegedOption = Annotated[
    bool | None, typer.Option("--privileged/--no-privileged", help="root of the device, where its owner allows it")
]
NetworkOption = Annotated[Network | None, typer.Option("--network", help="bridge if never given")]
PullOption = Annotated[PullPolicy | None, typer.Option("--pull", help="IfNotPresent if never given")]


class ContainerOptions(msgspec.Struct, frozen=True):
    """What was typed; None, or nothing, where an option was not given. An empty text takes away what it names."""

    volume: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    config_file: tuple[str, ...] = ()
    ulimit: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    container_label: tuple[str, ...] = ()
    add_host: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    memory: str | None = None
    shm_size: str | None = None
    user: str | None = None
    workdir: str | None = None
    hostname: str | None = None
    stop_signal: str | None = None
    log: str | None = None
    platform: str | None = None
    cpus: float | None = None
    pids: int | None = None
    stop_grace: int | None = None
    read_only: bool | None = None
    privileged: bool | None = None
    network: Network | None = None
    pull: PullPolicy | None = None
    update_order: UpdateOrder | None = None
    update_deadline: int | None = None
    secret_env: tuple[str, ...] = ()
    secret_file: tuple[str, ...] = ()
    image_pull_secret: str | None = None


class _SecretEnv(msgspec.Struct, frozen=True):
    name: EnvName
    source: FromSecret


def changes(options: ContainerOptions) -> Json:
    """What the options set, by the path of the field in the workload.

    Raises:
        InvalidInput: one makes no sense.
    """
    found: Json = {
        "limits.memory": _size("--memory", options.memory),
        "limits.cpus": options.cpus,
        "limits.pids": options.pids,
        "shmSize": _size("--shm-size", options.shm_size),
        "user": options.user,
        "workingDir": options.workdir,
        "hostname": options.hostname,
        "platform": options.platform,
        "stop.signal": options.stop_signal,
        "stop.grace": options.stop_grace,
        "security.readOnlyRoot": options.read_only,
        "security.privileged": options.privileged,
        "security.capabilities.add": _words(options.cap_add),
        "security.capabilities.drop": _words(options.cap_drop),
        "security.options": _words(options.security_opt),
        "dns": _words(options.dns),
        "network": options.network.value if options.network else None,
        "update.order": options.update_order.value if options.update_order else None,
        "update.deadline": options.update_deadline,
        "pull": options.pull.value if options.pull else None,
        "ulimits": _each("--ulimit", options.ulimit, _ulimit),
        "devices": _each("--device", options.device, _device),
        "imagePullSecret": options.image_pull_secret,
    }
    if options.config_file or options.secret_file:
        files = _each("--config-file", options.config_file, _file) or []
        found["files"] = files + (_each("--secret-file", options.secret_file, _secret_file) or [])
    if options.secret_env:
        sources = _each("--secret-env", options.secret_env, _secret_env) or []
        found["secretEnv"] = {source["name"]: source["source"] for source in sources}
        if len(found["secretEnv"]) < len(sources):
            twice = next(name for name, times in Counter(source["name"] for source in sources).items() if times > 1)
            raise InvalidInput(f"--secret-env gives {twice} twice", next_step="give one of them")
    if options.volume or options.tmpfs:
        volumes = _each("--volume", options.volume, _volume) or []
        found["mounts"] = volumes + (_each("--tmpfs", options.tmpfs, _tmpfs) or [])
    for name, option, given in (
        ("labels", "--container-label", options.container_label),
        ("extraHosts", "--add-host", options.add_host),
    ):
        if given:
            found[name] = pairs(option, [text for text in given if text])
    if options.log is not None:
        size, _, files = options.log.partition(":")
        found["log.size"] = _size("--log", size)
        found["log.files"] = _number("--log", files) if files else None
    return {path: value for path, value in found.items() if value is not None}


def apply_changes(workload: Json, changed: Json) -> None:
    """Set each field at its path."""
    for path, value in changed.items():
        *folders, name = path.split(".")
        place = workload
        for folder in folders:
            place[folder] = dict(place.get(folder) or {})
            place = place[folder]
        place[name] = value


def _words(given: tuple[str, ...]) -> list[str] | None:
    return [text for text in given if text] if given else None


def _each(
    option: str, given: tuple[str, ...], parse: Callable[[str], tuple[Json, type[msgspec.Struct]]]
) -> list[Json] | None:
    if not given:
        return None
    found: list[Json] = []
    for text in given:
        if not text:
            continue
        try:
            value, kind = parse(text)
            from_builtins(value, kind)
        except ValueError as error:
            why = error.what if isinstance(error, InvalidInput) else error
            raise InvalidInput(f"{option} {text!r}: {why}", next_step="see `fleet deployment apply --help`") from error
        found.append(value)
    return found


def _volume(text: str) -> tuple[Json, type[Mount]]:
    source, _, rest = text.partition(":")
    path, _, mode = rest.partition(":")
    if mode not in {"", "ro", "rw"}:
        raise ValueError(f"{mode!r} is neither ro nor rw")
    kind = "bind" if source.startswith("/") else "volume"
    return {"type": kind, "source": source, "path": path, **({"readOnly": True} if mode == "ro" else {})}, Mount


def _tmpfs(text: str) -> tuple[Json, type[Mount]]:
    path, _, size = text.partition(":")
    return {"type": "tmpfs", "path": path, **({"size": _size("--tmpfs", size)} if size else {})}, Mount


def _device(text: str) -> tuple[Json, type[HostDevice]]:
    source, _, rest = text.partition(":")
    path, _, permissions = rest.partition(":")
    more = {"path": path, "permissions": permissions}
    return {"source": source, **{name: value for name, value in more.items() if value}}, HostDevice


def _ulimit(text: str) -> tuple[Json, type[Ulimit]]:
    name, _, numbers = text.partition("=")
    soft, _, hard = numbers.partition(":")
    if not all(_WHOLE.fullmatch(limit) for limit in (soft, hard or soft)):
        raise ValueError("a limit is NAME=SOFT[:HARD], both whole numbers, or -1 for none")
    return {"name": name, "soft": int(soft), "hard": int(hard or soft)}, Ulimit


def _file(text: str) -> tuple[Json, type[File]]:
    local, _, rest = text.partition(":")
    path, _, mode = rest.partition(":")
    try:
        with Path(local).open("rb") as file:
            content = file.read(4 * MAX_CONTENT + 1).decode()
    except OSError as error:
        raise ValueError(f"cannot read {local}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{local} is no text") from error
    if len(content) > MAX_CONTENT:
        raise ValueError(f"{local} has more than {MAX_CONTENT} characters")
    return {"path": path, "content": content, **({"mode": mode} if mode else {})}, File


def _secret_env(text: str) -> tuple[Json, type[_SecretEnv]]:
    name, _, source = text.partition("=")
    return {"name": name, "source": _source(source)}, _SecretEnv


def _secret_file(text: str) -> tuple[Json, type[File]]:
    path, _, rest = text.partition("=")
    source, _, mode = rest.partition(":")
    return {"path": path, "secret": _source(source), **({"mode": mode} if mode else {})}, File


def _source(text: str) -> Json:
    name, slash, key = text.partition("/")
    if not slash:
        raise ValueError("a value of a Secret is SECRET/KEY")
    return {"name": name, "key": key}


def _size(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{option} {text!r} is no size", next_step="for example 256M, or a number of bytes")
    return int(match[1]) * _UNITS[match[2].lower()]


def _number(option: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise InvalidInput(f"{option}: {text!r} is no number", next_step="see `fleet deployment apply --help`")
    return int(text)
