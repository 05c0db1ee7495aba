"""What each key of a Compose file's service becomes in a container; every line that does not map is named. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fleet.contract.tree import Object, Path
from fleet.contract.written import Fault

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json

_UNITS = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_PORT = re.compile(r"(\d+):(\d+)(?:/(tcp|udp))?")
_CONDITIONS = {
    "service_started": "Started",
    "service_healthy": "Healthy",
    "service_completed_successfully": "Completed",
}
_PULL = {"always": "Always", "missing": "IfNotPresent", "if_not_present": "IfNotPresent", "never": "Never"}


OURS = "x-fleet-"
"""How the keys of a service begin that Compose ignores, and we do not."""
SECRETS = "/run/secrets"
"""Where Compose puts the files of secrets."""


def container(service: Object, path: Path, faults: list[Fault]) -> Json:
    """The fields of a container that a service stands for; what does not map is added to `faults`."""
    workload: Json = {"image": service.get("image", "")}
    if not service.get("image"):
        faults.append(Fault(path, "the service names no image; a device builds none"))
    for key, value in service.items():
        here = (*path, key)
        mapping = _MAPPED.get(key)
        if key == "image" or value is None or (mapping is None and key.startswith("x-") and not key.startswith(OURS)):
            continue
        if mapping is None:
            faults.append(Fault(here, f"{'.'.join(map(str, here))} does not map to a workload"))
            continue
        try:
            for place, one in mapping(value):
                _set(workload, place, one)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            faults.append(Fault(here, f"{'.'.join(map(str, here))} does not map: {error}"))
    return workload


def _set(workload: Json, place: str, value: Any) -> None:  # noqa: ANN401 - JSON
    *folders, name = place.split(".")
    target: Json = workload
    for folder in folders:
        target = target.setdefault(folder, {})
    target[name] = [*target.get(name, []), *value] if isinstance(value, list) else value


Pairs = Iterator[tuple[str, Any]]
Mapping = Callable[[Any], Pairs]


def _to(place: str, convert: Callable[[Any], Any] = lambda value: value) -> Mapping:
    def pairs(value: Any) -> Pairs:  # noqa: ANN401 - JSON
        yield place, convert(value)

    return pairs


def _words(value: str | list[str]) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else [str(one) for one in value]


def _texts(value: str | list[Any]) -> list[str]:
    return [str(one) for one in ([value] if isinstance(value, str) else value)]


def _map(value: list[str] | Object) -> dict[str, str]:
    if isinstance(value, Object):
        pairs = dict(value)
    else:
        pairs = {name: one if sign else None for name, sign, one in (text.partition("=") for text in value)}
    if missing := [name for name, one in pairs.items() if one is None]:
        raise ValueError(f"{missing[0]} has no value, and the file's own environment is not looked at")
    return {name: str(one).lower() if isinstance(one, bool) else str(one) for name, one in pairs.items()}


def _hosts(value: list[str] | Object) -> dict[str, str]:
    if isinstance(value, Object):
        return {name: str(one) for name, one in value.items()}
    return {name: one for name, _, one in (text.replace("=", ":", 1).partition(":") for text in value)}


def _depends_on(value: list[str] | Object | str) -> Pairs:
    if isinstance(value, str):
        raise TypeError("it is no list of services, and no map of them")
    for name in value:
        options = value[name] if isinstance(value, Object) else Object(condition="service_started")
        if not isinstance(options, Object):
            raise TypeError(f"{name} has no condition")
        _only(options, {"condition", "required", "restart"})
        if options.get("required", True) is not True or options.get("restart", False) is not False:
            raise ValueError(f"{name}: a service is always required, and is not started again with another")
        condition = options.get("condition")
        if condition not in _CONDITIONS:
            raise ValueError(f"{name}: its condition is none of {', '.join(_CONDITIONS)}")
        yield "dependsOn", [{"name": str(name), "condition": _CONDITIONS[condition]}]


def _size(value: str | int) -> int:
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", str(value).lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{value!r} is no size")
    return int(match[1]) * _UNITS[match[2]]


def _seconds(value: str | int) -> float:
    match = _DURATION.fullmatch(str(value))
    if match is None or not any(match.groups()):
        raise ValueError(f"{value!r} is no duration, such as 1m30s")
    hours, minutes, seconds, milliseconds = (float(one or 0) for one in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _only(value: Object, known: set[str]) -> None:
    if others := [name for name in value if name not in known]:
        raise ValueError(f"{others[0]} is not taken")


def _ports(value: list[Any]) -> Pairs:
    for one in value:
        if isinstance(one, Object):
            _only(one, {"target", "published", "protocol", "mode", "name"})
            port = {
                "host": int(one["published"]),
                "container": int(one["target"]),
                "protocol": one.get("protocol", "tcp"),
            }
        else:
            match = _PORT.fullmatch(str(one))
            if match is None:
                raise ValueError(f"{one!r} is not HOST:CONTAINER[/udp]; an address or a range is not taken")
            port = {"host": int(match[1]), "container": int(match[2]), "protocol": match[3] or "tcp"}
        yield "ports", [port]


def _volumes(value: list[Any]) -> Pairs:
    for one in value:
        if isinstance(one, Object):
            _only(one, {"type", "source", "target", "read_only", "tmpfs"})
            size = one.get("tmpfs", Object()).get("size", 0)
            mount = {"type": one["type"], "source": one.get("source", ""), "path": one["target"], "size": _size(size)}
            mount["readOnly"] = bool(one.get("read_only", False))
        else:
            source, _, rest = one.partition(":")
            path, _, mode = rest.partition(":")
            if not path or mode not in {"", "ro", "rw"} or source.startswith((".", "~")):
                raise ValueError(f"{one!r} is not NAME:PATH[:ro] or /FOLDER:PATH[:ro]")
            kind = "bind" if source.startswith("/") else "volume"
            mount = {"type": kind, "source": source, "path": path, "readOnly": mode == "ro"}
        yield "mounts", [mount]


def _tmpfs(value: str | list[str]) -> Pairs:
    for one in _texts(value):
        path, _, rest = one.partition(":")
        if rest:
            raise ValueError(f"{one!r} has options; give it as a volume of the type tmpfs")
        yield "mounts", [{"type": "tmpfs", "path": path}]


def _health(value: Object) -> Pairs:
    _only(value, {"test", "interval", "timeout", "retries", "start_period", "disable"})
    if value.get("disable") or value.get("test") in (["NONE"], "NONE"):
        raise ValueError("the image's own health check cannot be taken away")
    test = value["test"]
    if isinstance(test, str):
        command = ["sh", "-c", test]
    elif test[0] == "CMD":
        command = [str(one) for one in test[1:]]
    elif test[0] == "CMD-SHELL":
        command = ["sh", "-c", str(test[1])]
    else:
        raise ValueError(f"test begins with {test[0]!r}, not with CMD or CMD-SHELL")
    yield "health.command", command
    for key, name in (("interval", "interval"), ("timeout", "timeout"), ("start_period", "startPeriod")):
        if key in value:
            yield f"health.{name}", _seconds(value[key])
    if "retries" in value:
        yield "health.retries", int(value["retries"])


def _network(value: str) -> Pairs:
    if value not in {"host", "none", "bridge"}:
        raise ValueError(f"{value!r} is none of host, none and bridge")
    yield "network", value


def _restart(value: Any) -> Pairs:  # noqa: ANN401 - JSON
    yield "restart", "no" if value is False else str(value)


def _ulimits(value: Object) -> Pairs:
    for name, one in value.items():
        soft, hard = (one["soft"], one["hard"]) if isinstance(one, Object) else (one, one)
        yield "ulimits", [{"name": name, "soft": int(soft), "hard": int(hard)}]


def _devices(value: list[str]) -> Pairs:
    for one in value:
        source, _, rest = one.partition(":")
        path, _, permissions = rest.partition(":")
        yield "devices", [{"source": source, "path": path, "permissions": permissions or "rw"}]


def _logging(value: Object) -> Pairs:
    options = value.get("options", Object())
    _only(value, {"options"})
    _only(options, {"max-size", "max-file"})
    if "max-size" in options:
        yield "log.size", _size(options["max-size"])
    if "max-file" in options:
        yield "log.files", int(options["max-file"])


def _deploy(value: Object) -> Pairs:
    _only(value, {"resources"})
    _only(value["resources"], {"limits"})
    limits = value["resources"]["limits"]
    _only(limits, {"cpus", "memory", "pids"})
    for key, convert in (("cpus", float), ("memory", _size), ("pids", int)):
        if key in limits:
            yield f"limits.{key}", convert(limits[key])


def _secrets(value: list[Any]) -> Pairs:
    """Files whose `secret` is still the file's own name of it."""
    for one in value:
        entry = one if isinstance(one, Object) else Object(source=str(one))
        _only(entry, {"source", "target", "uid", "gid", "mode"})
        source = str(entry["source"])
        target = str(entry.get("target", source))
        file = {"path": target if target.startswith("/") else f"{SECRETS}/{target}", "secret": source}
        if (mode := entry.get("mode")) is not None:
            if not isinstance(mode, str):
                raise ValueError(f'{source}: the mode is given in quotes, such as "0400"')
            file["mode"] = mode
        yield "files", [{**file, **{ours: int(entry[key]) for key, ours in _OWNERS.items() if key in entry}}]


_OWNERS = {"uid": "user", "gid": "group"}


_MAPPED: dict[str, Mapping] = {
    "entrypoint": _to("command", _words),
    "command": _to("args", _words),
    "environment": _to("env", _map),
    "depends_on": _depends_on,
    "ports": _ports,
    "restart": _restart,
    "healthcheck": _health,
    "volumes": _volumes,
    "tmpfs": _tmpfs,
    "mem_limit": _to("limits.memory", _size),
    "cpus": _to("limits.cpus", float),
    "pids_limit": _to("limits.pids", int),
    "deploy": _deploy,
    "ulimits": _ulimits,
    "shm_size": _to("shmSize", _size),
    "read_only": _to("security.readOnlyRoot", bool),
    "privileged": _to("security.privileged", bool),
    "cap_add": _to("security.capabilities.add", _texts),
    "cap_drop": _to("security.capabilities.drop", _texts),
    "security_opt": _to("security.options", _texts),
    "devices": _devices,
    "user": _to("user", str),
    "working_dir": _to("workingDir", str),
    "hostname": _to("hostname", str),
    "labels": _to("labels", _map),
    "network_mode": _network,
    "extra_hosts": _to("extraHosts", _hosts),
    "dns": _to("dns", _texts),
    "stop_signal": _to("stop.signal", str),
    "stop_grace_period": _to("stop.grace", lambda value: int(_seconds(value))),
    "logging": _logging,
    "pull_policy": _to("pull", lambda value: _PULL[value]),
    "platform": _to("platform", str),
    "secrets": _secrets,
    f"{OURS}image-pull-secret": _to("imagePullSecret", str),
}
"""What each key of a service becomes. `container_name` and every other key is refused by its line."""
