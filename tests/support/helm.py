"""The real helm, values for the chart, and a registry."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import yaml

from fleet.chart.values import ChartValues, parse_values
from fleet.topology.capabilities import Json
from harness.processes.ports import Ports
from harness.processes.spawn import http_answers, running

GIVEN: Json = {
    "identity": {"issuer": "https://id.example.org", "projectId": "project-1", "cliClientId": "client-1"},
    "nats": {"host": "nats.example.org"},
}
"""The least that an install is told."""


def given(**changes: Any) -> Json:  # noqa: ANN401 - values of any type
    """`GIVEN` with changes by path: `nats__replicas=3`."""
    values: Json = {name: dict(group) for name, group in GIVEN.items()}
    for path, value in changes.items():
        *groups, name = path.split("__")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return values


def parsed(**changes: Any) -> ChartValues:  # noqa: ANN401 - as `given`
    return parse_values(given(**changes))


class Helm:
    """`helm` with a home of its own."""

    def __init__(self, program: Path, home: Path, chart: Path) -> None:
        self.program = program
        self.chart = chart
        self._home = home
        self._env = {**os.environ, "HOME": str(home), "HELM_CACHE_HOME": str(home), "HELM_CONFIG_HOME": str(home)}

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """What it prints; it must succeed."""
        done = self.call(*words, env=env)
        assert done.returncode == 0, f"helm {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def call(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *words],
            env={**self._env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def values(self, values: Json) -> str:
        """A file of values."""
        path = self._home / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    def template(self, values: Json, namespace: str = "here") -> list[Json]:
        """The objects that the chart is rendered to."""
        text = self(*self._template(values), "--namespace", namespace)
        return [item for item in yaml.safe_load_all(text) if item]

    def refusal(self, values: Json) -> str:
        """What it says of values that it refuses."""
        done = self.call(*self._template(values))
        assert done.returncode != 0, "these values were taken"
        return done.stderr

    def _template(self, values: Json) -> tuple[str, ...]:
        # A helm that was built without a release's flags takes the cluster for a very old one.
        return ("template", "fleet", str(self.chart), "--kube-version", "1.35.0", "--values", self.values(values))


_REGISTRY = """\
version: 0.1
log: {{accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{data}"}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextlib.contextmanager
def running_registry(root: Path) -> Generator[str]:
    """Debian's registry on this machine's loopback, without TLS; yields a repository for charts."""
    program = shutil.which("docker-registry")
    assert program, "apt-get install docker-registry"
    ports = Ports.acquire()
    port = ports.take()
    (root / "config.yml").write_text(_REGISTRY.format(data=root / "data", port=port))
    argv = [program, "serve", str(root / "config.yml")]
    ready = f"http://127.0.0.1:{port}/v2/"
    with running(argv, name="docker-registry", log=root / "log", ready=lambda: http_answers(ready)):
        yield f"oci://127.0.0.1:{port}/charts"
    ports.release()
