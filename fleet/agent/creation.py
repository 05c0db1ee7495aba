"""What the engine is asked to make of a workload: the body of `ContainerCreate` (Docker Engine API)."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.contract.wire import Health, Workload

_NANOSECOND = 1e9


_LOG_SIZE, _LOG_FILES = "10m", "3"
"""A container's log on the device: so many files of so many bytes, the oldest going first."""
_FILES = frozenset({"json-file", "local"})
"""docker's drivers that write files, and that let them grow without an end unless told otherwise (`json-file`)."""


def log_config(driver: str) -> dict[str, object] | None:
    """The cap on a container's log, given the engine's driver; None where the driver writes no files of its own.

    podman tells no driver. Its `k8s-file` is what it takes for docker's `json-file` (podman-run(1), `--log-driver`).
    """
    cap: dict[str, str] = {"max-size": _LOG_SIZE}
    if not driver:
        return {"Type": "k8s-file", "Config": cap}
    return {"Type": driver, "Config": {**cap, "max-file": _LOG_FILES}} if driver in _FILES else None


def creation(
    workload: Workload, labels: Mapping[str, str], log: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The body that makes a container of a workload (Docker Engine API, `ContainerCreate`); `log` is a `log_config`."""
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
    host: dict[str, object] = {"PortBindings": bindings, "RestartPolicy": {"Name": workload.restart.value}}
    if log:
        host["LogConfig"] = dict(log)
    body["HostConfig"] = host
    return body


def _health_check(health: Health) -> dict[str, object]:
    return {
        "Test": ["CMD", *health.command],
        "Interval": int(health.interval * _NANOSECOND),
        "Timeout": int(health.timeout * _NANOSECOND),
        "Retries": health.retries,
        "StartPeriod": int(health.start_period * _NANOSECOND),
    }
