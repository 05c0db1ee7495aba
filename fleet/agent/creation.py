"""What the engine is asked to make of a workload: the body of `ContainerCreate` (Docker Engine API)."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.contract.wire import Health, Workload

_NANOSECOND = 1e9


def creation(workload: Workload, labels: Mapping[str, str]) -> dict[str, object]:
    """The body that makes a container of a workload (Docker Engine API, `ContainerCreate`)."""
    body: dict[str, object] = {
        "Image": workload.image,
        "Env": [f"{name}={value}" for name, value in sorted(workload.env.items())],
        "Labels": dict(labels),
        "ExposedPorts": {f"{port.container}/{port.protocol.value}": {} for port in workload.ports},
    }
    if workload.command:
        body["Entrypoint"] = list(workload.command)
    if workload.args:
        body["Cmd"] = list(workload.args)
    if workload.health:
        body["Healthcheck"] = _health_check(workload.health)
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in workload.ports:
        key = f"{port.container}/{port.protocol.value}"
        bindings.setdefault(key, []).append({"HostPort": str(port.host)})
    body["HostConfig"] = {"PortBindings": bindings, "RestartPolicy": {"Name": workload.restart.value}}
    return body


def _health_check(health: Health) -> dict[str, object]:
    return {
        "Test": ["CMD", *health.command],
        "Interval": int(health.interval * _NANOSECOND),
        "Timeout": int(health.timeout * _NANOSECOND),
        "Retries": health.retries,
        "StartPeriod": int(health.start_period * _NANOSECOND),
    }
