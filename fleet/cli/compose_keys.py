"""What each key of a Compose file's service becomes in a container; every line that does not map is named. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fleet.cli.compose_values import (
    Unmapped,
    boolean,
    listed,
    number,
    once,
    only,
    seconds,
    size,
    text,
    text_map,
    texts,
    texts_in,
    whole,
    words,
)
from fleet.contract.tree import Object, Path
from fleet.contract.written import Fault

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json

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
            for place, member in mapping(value):
                _set(workload, place, member)
        except Unmapped as error:
            faults.append(Fault(here, f"{'.'.join(map(str, here))} does not map: {error}"))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            why = "it is not what the Compose specification has there"
            faults.append(Fault(here, f"{'.'.join(map(str, here))} does not map: {why}"))
    return workload


def _set(workload: Json, place: str, value: Any) -> None:  # noqa: ANN401 - JSON
    *folders, name = place.split(".")
    target: Json = workload
    for folder in folders:
        target = target.setdefault(folder, {})
    if not isinstance(value, list) and target.get(name, value) != value:
        raise Unmapped(f"another key says {target[name]} of the same")
    target[name] = [*target.get(name, []), *value] if isinstance(value, list) else value


Pairs = Iterator[tuple[str, Any]]
Mapping = Callable[[Any], Pairs]


def _to(place: str, convert: Callable[[Any], Any] = lambda value: value) -> Mapping:
    def pairs(value: Any) -> Pairs:  # noqa: ANN401 - JSON
        yield place, convert(value)

    return pairs


def _words(value: str | list[str]) -> list[str]:
    """The words of a command. Compose takes none as "without the image's own", which a workload cannot say."""
    if not (found := words(value)):
        raise Unmapped("the image's own cannot be taken away")
    return found


def _hosts(value: list[str] | Object) -> dict[str, str]:
    if isinstance(value, Object):
        return {name: text(label) for name, label in value.items()}
    return once(
        (name, address) for name, _, address in (pair.replace("=", ":", 1).partition(":") for pair in texts_in(value))
    )


def _depends_on(value: list[str] | Object | str) -> Pairs:
    if isinstance(value, str):
        raise Unmapped("it is no list of services, and no map of them")
    for name in value:
        options = value[name] if isinstance(value, Object) else Object(condition="service_started")
        if not isinstance(options, Object):
            raise Unmapped(f"{name} has no condition")
        only(options, {"condition", "required", "restart"})
        if not boolean(options.get("required", True)) or boolean(options.get("restart", False)):
            raise Unmapped(f"{name}: a service is always required, and is not started again with another")
        condition = options.get("condition")
        if condition not in _CONDITIONS:
            raise Unmapped(f"{name}: its condition is none of {', '.join(_CONDITIONS)}")
        yield "dependsOn", [{"name": str(name), "condition": _CONDITIONS[condition]}]


def _ports(value: list[Any]) -> Pairs:
    for item in listed(value):
        if isinstance(item, Object):
            only(item, {"target", "published", "protocol", "mode", "name"})
            port = {
                "host": whole(item.get("published")),
                "container": whole(item.get("target")),
                "protocol": text(item.get("protocol", "tcp")),
            }
            if item.get("mode", "ingress") not in {"ingress", "host"}:
                raise Unmapped("its mode is neither ingress nor host")
        else:
            match = _PORT.fullmatch(str(item))
            if match is None:
                raise Unmapped(f"{item!r} is not HOST:CONTAINER[/udp]; an address or a range is not taken")
            port = {"host": int(match[1]), "container": int(match[2]), "protocol": match[3] or "tcp"}
        yield "ports", [port]


def _volumes(value: list[Any]) -> Pairs:
    for item in listed(value):
        if isinstance(item, Object):
            only(item, {"type", "source", "target", "read_only", "tmpfs"})
            options = item.get("tmpfs", Object())
            only(options, {"size"})
            limit = options.get("size", 0)
            mount = {
                "type": item["type"],
                "source": item.get("source", ""),
                "path": item["target"],
                "size": size(limit),
            }
            mount["readOnly"] = boolean(item.get("read_only", False))
        else:
            source, _, rest = item.partition(":")
            path, _, mode = rest.partition(":")
            if not path or mode not in {"", "ro", "rw"} or source.startswith((".", "~")):
                raise Unmapped(f"{item!r} is not NAME:PATH[:ro] or /FOLDER:PATH[:ro]")
            kind = "bind" if source.startswith("/") else "volume"
            mount = {"type": kind, "source": source, "path": path, "readOnly": mode == "ro"}
        yield "mounts", [mount]


def _tmpfs(value: str | list[str]) -> Pairs:
    for device in texts(value):
        path, _, rest = device.partition(":")
        if rest:
            raise Unmapped(f"{device!r} has options; give it as a volume of the type tmpfs")
        yield "mounts", [{"type": "tmpfs", "path": path}]


def _health(value: Object) -> Pairs:
    only(value, {"test", "interval", "timeout", "retries", "start_period", "disable"})
    if boolean(value.get("disable", False)) or value.get("test") in (["NONE"], "NONE"):
        raise Unmapped("the image's own health check cannot be taken away")
    test = value.get("test")
    kind, *command = ("CMD-SHELL", test) if isinstance(test, str) else texts_in(test) or [""]
    if kind not in {"CMD", "CMD-SHELL"} or not command:
        raise Unmapped("test is a text, or a list of CMD or CMD-SHELL and what is run")
    if kind == "CMD-SHELL":
        command = ["sh", "-c", *command]
    yield "health.command", command
    for key, name in (("interval", "interval"), ("timeout", "timeout"), ("start_period", "startPeriod")):
        if key in value:
            yield f"health.{name}", seconds(value[key])
    if "retries" in value:
        yield "health.retries", whole(value["retries"])


def _network(value: str) -> Pairs:
    if value not in {"host", "none", "bridge"}:
        raise Unmapped(f"{value!r} is none of host, none and bridge")
    yield "network", value


def _restart(value: Any) -> Pairs:  # noqa: ANN401 - JSON
    yield "restart", "no" if value is False else text(value)


def _ulimits(value: Object) -> Pairs:
    for name, limit in value.items():
        both = limit if isinstance(limit, Object) else Object(soft=limit, hard=limit)
        only(both, {"soft", "hard"})
        yield "ulimits", [{"name": name, "soft": whole(both.get("soft")), "hard": whole(both.get("hard"))}]


def _devices(value: list[str]) -> Pairs:
    for item in texts_in(value):
        source, _, rest = item.partition(":")
        path, _, permissions = rest.partition(":")
        yield "devices", [{"source": source, "path": path, "permissions": permissions or "rw"}]


def _logging(value: Object) -> Pairs:
    options = value.get("options", Object())
    only(value, {"options"})
    only(options, {"max-size", "max-file"})
    if "max-size" in options:
        yield "log.size", size(options["max-size"])
    if "max-file" in options:
        yield "log.files", whole(options["max-file"])


def _deploy(value: Object) -> Pairs:
    only(value, {"resources"})
    only(value["resources"], {"limits"})
    limits = value["resources"]["limits"]
    only(limits, {"cpus", "memory", "pids"})
    for key, convert in (("cpus", number), ("memory", size), ("pids", whole)):
        if key in limits:
            yield f"limits.{key}", convert(limits[key])


def _secrets(value: list[Any]) -> Pairs:
    """Files whose `secret` is still the file's own name of it."""
    for item in listed(value):
        entry = item if isinstance(item, Object) else Object(source=text(item))
        only(entry, {"source", "target", "uid", "gid", "mode"})
        source = text(entry.get("source"))
        target = source if entry.get("target") is None else text(entry["target"])
        file = {"path": target if target.startswith("/") else f"{SECRETS}/{target}", "secret": source}
        if (mode := entry.get("mode")) is not None:
            if not isinstance(mode, str):
                raise Unmapped(f'{source}: the mode is given in quotes, such as "0400"')
            file["mode"] = mode
        yield "files", [{**file, **{ours: whole(entry[key]) for key, ours in _OWNERS.items() if key in entry}}]


_OWNERS = {"uid": "user", "gid": "group"}


def _grace(value: str | int) -> int:
    grace = seconds(value)
    if grace != grace // 1:
        raise Unmapped(f"{value!r} is no number of whole seconds")
    return int(grace)


def _pull(value: Any) -> str:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or value not in _PULL:
        raise Unmapped(f"it is none of {', '.join(_PULL)}")
    return _PULL[value]


def _capabilities(value: list[Any]) -> list[str]:
    """As docker takes them: in any case, and with `CAP_` before them."""
    return [capability.upper().removeprefix("CAP_") for capability in texts(value)]


def _security(value: list[Any]) -> list[str]:
    """Options, also as docker takes them from of old: with a colon, and `no-new-privileges` with a value."""
    found: list[str] = []
    for item in texts(value):
        name, sign, rest = item.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges" and sign:
            found += [name] if boolean(rest) else []
        else:
            found.append(f"{name}{sign}{rest}")
    return found


_MAPPED: dict[str, Mapping] = {
    "entrypoint": _to("command", _words),
    "command": _to("args", _words),
    "environment": _to("env", text_map),
    "depends_on": _depends_on,
    "ports": _ports,
    "restart": _restart,
    "healthcheck": _health,
    "volumes": _volumes,
    "tmpfs": _tmpfs,
    "mem_limit": _to("limits.memory", size),
    "cpus": _to("limits.cpus", number),
    "pids_limit": _to("limits.pids", whole),
    "deploy": _deploy,
    "ulimits": _ulimits,
    "shm_size": _to("shmSize", size),
    "read_only": _to("security.readOnlyRoot", boolean),
    "privileged": _to("security.privileged", boolean),
    "cap_add": _to("security.capabilities.add", _capabilities),
    "cap_drop": _to("security.capabilities.drop", _capabilities),
    "security_opt": _to("security.options", _security),
    "devices": _devices,
    "user": _to("user", text),
    "working_dir": _to("workingDir", text),
    "hostname": _to("hostname", text),
    "labels": _to("labels", lambda value: text_map(value, empty="")),
    "network_mode": _network,
    "extra_hosts": _to("extraHosts", _hosts),
    "dns": _to("dns", texts),
    "stop_signal": _to("stop.signal", text),
    "stop_grace_period": _to("stop.grace", _grace),
    "logging": _logging,
    "pull_policy": _to("pull", _pull),
    "platform": _to("platform", text),
    "secrets": _secrets,
    f"{OURS}image-pull-secret": _to("imagePullSecret", text),
}
"""What each key of a service becomes. `container_name` and every other key is refused by its line."""
