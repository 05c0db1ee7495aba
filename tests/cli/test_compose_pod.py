"""Several services of a Compose file become one pod, in the order that they ask for; what cannot be is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.compose import ComposeSource
from fleet.cli.deployment_source import Options
from fleet.contract.errors import InvalidInput
from fleet.contract.objects import FleetDeployment
from fleet.contract.pod import Pod, start_order
from fleet.contract.wire import from_builtins
from harness.probes.kube import KubeProbe
from tests.cli.conftest import Fleet, Place

STACK = """\
name: shop
services:
  web:
    image: web:1
    restart: always
    depends_on:
      db: {condition: service_healthy, required: true}
      migrate: {condition: service_completed_successfully}
    ports: ["8080:80"]
    environment: {DATABASE: "db:5432"}
    volumes: ["data:/srv:ro"]
  migrate:
    image: migrate:1
    depends_on: [db]
    volumes: ["data:/data"]
  db:
    image: db:1
    healthcheck: {test: [CMD, pg_isready], interval: 1s}
    volumes: ["data:/data"]
volumes:
  data:
"""


def made(text: str, name: str = "", service: str = "") -> dict[str, Any]:
    options = Options(name, selector=("site=lab",))
    whole = ComposeSource(text.encode(), "compose.yaml", service, options, every_device=False).merged_with(None)
    return dict(whole)


def refused(text: str) -> str:
    with pytest.raises(InvalidInput) as found:
        made(text)
    return str(found.value)


def changed(old: str, new: str) -> str:
    assert old in STACK
    return STACK.replace(old, new, 1)


def test_services_become_the_containers_of_one_pod() -> None:
    whole = made(STACK)
    assert whole["metadata"]["name"] == "shop"
    assert whole["spec"]["selector"] == {"matchLabels": {"site": "lab"}}
    web, migrate, db = whole["spec"]["workload"]["containers"]
    assert web["dependsOn"] == [
        {"name": "db", "condition": "Healthy"},
        {"name": "migrate", "condition": "Completed"},
    ]
    assert (web["restart"], web["env"]) == ("always", {"DATABASE": "db:5432"})
    assert web["ports"] == [{"host": 8080, "container": 80, "protocol": "tcp"}]
    assert migrate["dependsOn"] == [{"name": "db", "condition": "Started"}]
    assert migrate["restart"] == "no", "its end is waited for, and Compose starts it once"
    assert "restart" not in db
    assert db["health"] == {"command": ["pg_isready"], "interval": 1.0}
    assert {one["mounts"][0]["source"] for one in (web, migrate, db)} == {"data"}
    assert web["mounts"][0]["readOnly"]
    pod = from_builtins(whole, FleetDeployment).spec.workload
    assert isinstance(pod, Pod)
    assert start_order(pod) == ["db", "migrate", "web"]


def test_the_name_that_is_typed_counts_before_that_of_the_file() -> None:
    assert made(STACK, "mine")["metadata"]["name"] == "mine"
    assert "has several services, and their deployment has no name" in refused(changed("name: shop\n", ""))


def test_a_service_that_ends_may_be_started_again_until_it_has_ended_well() -> None:
    text = changed("    image: migrate:1\n", "    image: migrate:1\n    restart: on-failure\n")
    assert made(text)["spec"]["workload"]["containers"][1]["restart"] == "on-failure"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("depends_on: [db]", "depends_on: [dbb]", "line 14: services.migrate.depends_on: dbb is no service"),
        ("depends_on: [db]", "depends_on: [db, web]", "line 6: services wait for each other: "),
        ("depends_on: [db]", "depends_on: db", "line 14: services.migrate.depends_on does not map: it is no list"),
        ("depends_on: [db]", "depends_on: {db: }", "db has no condition"),
        ("depends_on: [db]", "depends_on: {db: {}}", "its condition is none of service_started"),
        ("service_healthy", "service_well", "line 6: services.web.depends_on does not map: db: its condition"),
        ("required: true", "required: false", "a service is always required"),
        ("required: true", "restart: true", "is not started again with another"),
        ("required: true", "until: noon", "until is not taken"),
        ("image: migrate:1", "restart: always\n    image: migrate:1", "migrate has no end, for its restart is always"),
        (
            "image: db:1",
            "image: db:1\n    ports: ['8080:5432']",
            "line 18: services.db.ports: web publishes the port 8080/tcp of the device too",
        ),
        ("image: db:1", "image: db:1\n    links: [web]", "line 18: services.db.links does not map"),
        ("image: db:1", "image: db:1\n    pids_limit: -5", "line 16: services.db: "),
        ("  migrate:\n", "  my_db: {image: a}\n  migrate:\n", "line 12: services.my_db: "),
        ("  db:\n    image: db:1", "  db:\n    build: .", "line 17: services.db.build does not map"),
        ("  migrate:\n", "  web: {image: a}\n  migrate:\n", "line 12: services.web stands there twice"),
        ("\n  data:\n", " [data]\n", "line 20: volumes is no map of names"),
    ],
)
def test_what_does_not_map_is_named_with_its_line(old: str, new: str, said: str) -> None:
    assert said in refused(changed(old, new))


def test_what_is_wrong_in_several_services_is_told_at_once() -> None:
    text = changed("image: migrate:1", "image: migrate:1\n    build: .").replace("db:1", "db:1\n    networks: [a]")
    told = refused(text.replace("depends_on: [db]", "depends_on: [absent]"))
    for one in ("services.migrate.build", "services.db.networks", "absent is no service"):
        assert one in told


def test_there_are_not_more_services_than_a_pod_takes() -> None:
    def of(number: int) -> str:
        return "name: many\nservices:\n" + "".join(f"  s{one}: {{image: a}}\n" for one in range(number))

    assert len(made(of(16))["spec"]["workload"]["containers"]) == 16
    assert "line 2: services: " in refused(of(17))


def test_services_share_what_an_anchor_names() -> None:
    text = "name: two\nx-all: &all {restart: always, depends_on: [db]}\nservices:\n  web: {<<: *all, image: a}\n"
    parts = made(text + "  db: {image: b}\n")["spec"]["workload"]["containers"]
    assert parts[0]["dependsOn"] == [{"name": "db", "condition": "Started"}]


def test_one_command_applies_them(fleet: Fleet, installed: Place, probe: KubeProbe, tmp_path: Path) -> None:
    del installed
    file = tmp_path / "compose.yaml"
    file.write_text(STACK)
    apply = ("deployment", "apply", "--compose", str(file))
    refused = fleet(*apply)
    assert refused.code == 2
    assert "--selector is missing" in refused.err
    answer = fleet(*apply, "--selector", "site=lab")
    assert answer.code == 0, answer.err
    assert "nothing changed" in fleet(*apply).out
    file.write_text(STACK.replace("web:1", "web:2"))
    answer = fleet(*apply)
    assert answer.code == 0, answer.err
    assert "web:2" in answer.out
    held = probe.deployment("shop")
    assert held is not None
    assert isinstance(held.spec.workload, Pod)
    assert list(held.spec.workload.parts) == ["web", "migrate", "db"]
    file.write_text(STACK.replace("depends_on: [db]", "depends_on: [web]"))
    assert "wait for each other" in fleet(*apply).err


SECRET = """\
secrets:
  password: {external: true, name: shop/password}
"""


def with_secret(service: str, more: str = SECRET) -> str:
    return changed("    image: db:1\n", f"    image: db:1\n{service}") + more


def test_a_secret_of_the_file_is_one_of_kubernetes() -> None:
    one = """    secrets: [password, {source: password, target: /etc/pw, mode: "0400", uid: "70"}]\n"""
    *_, db = made(with_secret(one))["spec"]["workload"]["containers"]
    source = {"name": "shop", "key": "password"}
    assert db["files"] == [
        {"path": "/run/secrets/password", "secret": source},
        {"path": "/etc/pw", "secret": source, "mode": "0400", "user": 70},
    ]


def test_a_service_names_the_login_at_the_registry_of_its_image() -> None:
    web, _, db = made(with_secret("    x-fleet-image-pull-secret: registry\n", ""))["spec"]["workload"]["containers"]
    assert db["imagePullSecret"] == "registry"
    assert "imagePullSecret" not in web


@pytest.mark.parametrize(
    ("service", "more", "says"),
    [
        ("    secrets: [absent]\n", SECRET, "services.db.secrets: the file has no secret absent"),
        ("    secrets: [password]\n", "", "services.db.secrets: the file has no secret password"),
        ("    secrets: [{source: password, mode: 256}]\n", SECRET, 'the mode is given in quotes, such as "0400"'),
        ("    secrets: [{source: password, size: 1}]\n", SECRET, "size is not taken"),
        ("", "secrets: {a: {file: ./a.txt}}\n", "its value comes from Kubernetes"),
        ("", "secrets: {a: {external: true}}\n", "say `external: true` and `name: SECRET/KEY`"),
        ("", "secrets: {a: {external: true, name: shop}}\n", "`name: SECRET/KEY`"),
        ("", "secrets: [a]\n", "secrets is no map of names"),
        ("    x-fleet-pull-secret: registry\n", "", "services.db.x-fleet-pull-secret does not map to a workload"),
    ],
)
def test_a_secret_that_is_not_in_kubernetes_is_refused_with_its_line(service: str, more: str, says: str) -> None:
    refusal = refused(with_secret(service, more))
    assert says in refusal
    assert "line " in refusal


def test_the_stack_of_the_readme_is_applied_by_its_command(
    fleet: Fleet, probe: KubeProbe, installed: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del installed
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (file,) = [block for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "services:" in block]
    (command,) = re.findall(r"^fleet (deployment apply --compose .*) --wait$", readme, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text(file)
    answer = fleet(*command.split())
    assert answer.code == 0, answer.err
    held = probe.deployment("shop")
    assert held is not None
    pod = held.spec.workload
    assert isinstance(pod, Pod)
    assert len(pod.parts) == 3
    assert all(part.mounts for name, part in pod.parts.items() if name != "web")
    assert pod.parts["db"].files[0].secret is not None
    assert pod.parts["web"].image_pull_secret
