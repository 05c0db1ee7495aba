"""A Compose file becomes a deployment as far as it maps; each line that does not is named, and nothing is applied."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.cli.compose import ComposeSource
from fleet.cli.deployment_source import Options
from fleet.contract import yaml_tree
from fleet.contract.errors import InvalidInput
from fleet.contract.written import MAX_FILE

WHOLE = """\
name: shop
x-common: &common
  restart: on-failure
  environment: {MODE: production, DEBUG: false}
services:
  web:
    <<: *common
    image: registry.example/web:1.2
    entrypoint: /bin/web --fast
    command: [--port, "80"]
    ports: ["8080:80", {target: 53, published: "53", protocol: udp}]
    volumes: [data:/data, /srv/media:/media:ro, {type: tmpfs, target: /scratch, tmpfs: {size: 1m}}]
    tmpfs: /run
    healthcheck: {test: [CMD, /bin/check], interval: 1m30s, timeout: 500ms, retries: 5}
    deploy: {resources: {limits: {cpus: "0.5", memory: 256M}}}
    user: "1000:1000"
    read_only: true
    cap_drop: [ALL]
    extra_hosts: ["cache.example:192.0.2.7", "device=host-gateway"]
    stop_grace_period: 30s
    logging: {options: {max-size: 1m, max-file: "2"}}
    ulimits: {nofile: {soft: 64, hard: 128}, nproc: 10}
    pull_policy: always
volumes:
  data:
"""


def source(text: str, service: str = "", name: str = "") -> ComposeSource:
    options = Options(name, selector=("site=lab",))
    return ComposeSource(text.encode(), "compose.yaml", service, options, every_device=False)


def refused(text: str, service: str = "") -> str:
    with pytest.raises(InvalidInput) as found:
        source(text, service)
    return str(found.value)


def service(line: str) -> str:
    return f"services:\n  web:\n    image: web:1\n    {line}\n"


def test_what_maps_becomes_the_workload() -> None:
    made = source(WHOLE)
    assert made.name == "web"
    whole = made.merged_with(None)
    assert whole["spec"]["selector"] == {"matchLabels": {"site": "lab"}}
    workload: dict[str, Any] = whole["spec"]["workload"]
    assert (workload["command"], workload["args"]) == (["/bin/web", "--fast"], ["--port", "80"])
    assert (workload["restart"], workload["env"]) == ("on-failure", {"MODE": "production", "DEBUG": "false"})
    assert [one["host"] for one in workload["ports"]] == [8080, 53]
    assert [(one["type"], one["path"]) for one in workload["mounts"]] == [
        ("volume", "/data"),
        ("bind", "/media"),
        ("tmpfs", "/scratch"),
        ("tmpfs", "/run"),
    ]
    assert workload["health"] == {"command": ["/bin/check"], "interval": 90.0, "timeout": 0.5, "retries": 5}
    assert workload["limits"] == {"cpus": 0.5, "memory": 256 * 2**20}
    assert workload["security"] == {"readOnlyRoot": True, "capabilities": {"drop": ["ALL"]}}
    assert workload["extraHosts"] == {"cache.example": "192.0.2.7", "device": "host-gateway"}
    assert (workload["stop"], workload["pull"]) == ({"grace": 30}, "Always")
    assert workload["log"] == {"size": 2**20, "files": 2}
    assert len(workload["ulimits"]) == 2


def test_selector_and_strategy_of_a_deployment_that_is_there_stay() -> None:
    before = {"spec": {"workload": {}, "selector": {"matchLabels": {"site": "x"}}, "strategy": {"type": "Rolling"}}}
    spec = source(service("restart: always"), name="shop").merged_with(before)["spec"]
    assert spec["strategy"] == {"type": "Rolling"}
    assert spec["workload"] == {"type": "container", "image": "web:1", "restart": "always"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("build: .", "line 4: services.web.build does not map"),
        ("depends_on: [db]", "line 4: services.web.depends_on: db is no service of the deployment, which has web"),
        ("depends_on: [web]", "line 4: services wait for each other: web"),
        ("restart: always\n    restart: 'no'", "line 5: services.web.restart stands there twice"),
        ("secrets: [db]", "services.web.secrets"),
        ("env_file: .env", "services.web.env_file"),
        ("container_name: web", "services.web.container_name"),
        ("environment: [SECRET]", "SECRET has no value"),
        ('ports: ["80"]', "is not HOST:CONTAINER"),
        ('ports: ["127.0.0.1:80:80"]', "is not HOST:CONTAINER"),
        ('ports: ["70000:80"]', "65535"),
        ("volumes: [./data:/data]", "is not NAME:PATH"),
        ("volumes: [data:/../etc]", "path"),
        ("tmpfs: /run:size=1m", "has options"),
        ("network_mode: service:db", "is none of host, none and bridge"),
        ("healthcheck: {disable: true}", "cannot be taken away"),
        ("deploy: {replicas: 3}", "replicas is not taken"),
        ("mem_limit: lots", "is no size"),
        ("stop_grace_period: soon", "is no duration"),
        ("pull_policy: daily", "services.web.pull_policy"),
        ("restart: sometimes", "restart"),
        ("ports: 5", "services.web.ports"),
        ("healthcheck: 5", "services.web.healthcheck"),
    ],
)
def test_a_line_that_does_not_map_is_named(line: str, said: str) -> None:
    assert said in refused(service(line))


def test_every_line_that_does_not_map_is_named_at_once() -> None:
    told = refused(service("build: .\n    links: [db]") + "networks: {back: {}}\nvolumes: {data: {driver: nfs}}\n")
    for line in ("line 4: services.web.build", "line 5: services.web.links", "line 6: networks", "volumes.data"):
        assert line in told


def test_a_file_with_many_faults_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was parsed again for the line of each: 400 faults took nine seconds, and 4,000 a quarter of an hour."""
    parsed: list[int] = []

    class Counted(yaml_tree._Loader):  # pyright: ignore[reportPrivateUsage]
        def __init__(self, text: str) -> None:
            parsed.append(len(text))
            super().__init__(text)

    monkeypatch.setattr(yaml_tree, "_Loader", Counted)
    told = refused(service("\n    ".join(f"key{number}: x" for number in range(300))))
    assert "line 303: services.web.key299 does not map" in told
    assert len(parsed) == 2, "once for its values, and once for its lines"


def test_one_service_of_several_is_taken_alone() -> None:
    two = "services:\n  web: {image: a}\n  db: {image: b}\n"
    assert source(two, "db").merged_with(None)["spec"]["workload"] == {"type": "container", "image": "b"}
    assert "no service cache; there are: web, db" in refused(two, "cache")


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no services"),
        ("[]", "no services"),
        ("services: {}", "no services"),
        ("services: {web: }", "line 1: services.web says nothing of a service"),
        ("services: {web: {build: .}}", "names no image"),
        ("services: {web: {image: UPPER}}", "no capital letters"),
        (LAUGHS, "values, once each alias stands for its own"),
        ("services: &a {web: *a}", ""),
        ("#" * 2**21, f"it has more than {MAX_FILE} bytes"),
        ("services:\n\tweb: {}", "YAML"),
    ],
)
def test_what_is_no_compose_file_is_refused(text: str, said: str) -> None:
    assert said in refused(text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("environment: {PASSWORD: '${PASSWORD}'}", "services.web.environment.PASSWORD has the variable PASSWORD: "),
        ("environment: ['A=$B']", "line 4: services.web.environment[0] has the variable B: "),
        ("command: sh -c 'echo ${A:-hunter2}'", "services.web.command has the variable A: "),
        ("command: echo 5$", "services.web.command has a single $: "),
    ],
)
def test_a_variable_is_refused(line: str, said: str) -> None:
    """Compose puts a value there: the container had the text, so its password was known to who reads the file."""
    told = refused(service(line))
    assert said in told
    assert "hunter2" not in told, "a default may be a secret"


def test_two_dollars_are_one_and_what_is_ignored_may_have_any() -> None:
    text = service("command: [sh, -c, 'echo $$HOME']") + "    x-note: costs $5\nx-top: $A\n"
    made = source(text, name="shop").merged_with(None)["spec"]["workload"]
    assert made["args"] == ["sh", "-c", "echo $HOME"]


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("user: 1000:33", "user", "1000:33"),
        ("user: 0100", "user", "0100"),
        ("environment: {AT: 12:30}", "env", {"AT": "12:30"}),
        ("environment: {LAND: NO, ON: yes, y: off}", "env", {"LAND": "NO", "ON": "yes", "y": "off"}),
        ("environment: {MODE: 0777, VERSION: 1.10}", "env", {"MODE": "0777", "VERSION": "1.10"}),
        ("environment: {A: true, B: 12}", "env", {"A": "true", "B": "12"}),
        ("command: [sleep, 1:30]", "args", ["sleep", "1:30"]),
        ("ports: [22:22]", "ports", [{"host": 22, "container": 22, "protocol": "tcp"}]),
        ("restart: no", "restart", "no"),
        ("privileged: off", "security", {"privileged": False}),
        ("cpus: 0.50", "limits", {"cpus": 0.5}),
    ],
)
def test_a_value_without_quotes_is_what_is_written(line: str, field: str, value: object) -> None:
    """Compose takes none of them for a number to the base of sixty, nor `NO` for a boolean."""
    options = Options("shop", selector=("site=lab",))
    made = ComposeSource(service(line).encode(), "compose.yaml", "", options, every_device=False)
    assert made.merged_with(None)["spec"]["workload"][field] == value
