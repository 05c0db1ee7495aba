"""The chart by the real helm: the objects of a direct install, whatever the values; bad values are told in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.chart.files import FOLDER, chart_files, package
from fleet.chart.generate import generated, values_schema
from fleet.chart.values import ONE_IDENTITY, RULES, WEB_ADDRESS, ChartValues, shape_of
from fleet.contract.errors import InvalidInput
from fleet.contract.logs import LOG_READER_SECRET
from fleet.contract.objects import SERVER_CONFIG_MAP
from fleet.install.plan import ServerSettings, server_objects, server_plan
from fleet.install.secrets import server_secrets
from fleet.install.server import SERVICES
from fleet.secrets.file import FileSecretStore
from fleet.secrets.kubernetes import NAME as STORE
from fleet.topology.capabilities import Json, Service
from fleet.topology.kubernetes.labels import named
from fleet.topology.kubernetes.pods import DIGEST, files_digest
from fleet.topology.kubernetes.render import render
from fleet.topology.kubernetes.shape import Exposure, endpoints
from tests.repo.test_documents import ROOT
from tests.support.helm import Helm, given, parsed

ALL: Json = {
    "nats__replicas": 3,
    "callout__replicas": 1,
    "user": None,
    "pullSecret": "pull",
    "nats__storage": {"size": "5Gi", "storageClass": "fast"},
    "nats__ingressClass": "haproxy",
    "web__enabled": True,
}
"""One other value for each choice that the templates have a condition for."""
INGRESS: Json = {"web": {"enabled": True, "host": "fleet.example.org", "exposure": "ingress"}}
ROUTE: Json = {"web": {"enabled": True, "host": "fleet.example.org", "exposure": "route"}}
CLASSED: Json = {"web": {**INGRESS["web"], "ingressClass": "haproxy"}}


def changes() -> list[Json]:
    """No choice, each alone, and all of them."""
    return [{}, *({name: value} for name, value in ALL.items()), ALL, INGRESS, ROUTE, CLASSED]


def services_of(values: ChartValues, namespace: str, secrets: Path) -> tuple[Service, ...]:
    places = endpoints(namespace, shape_of(values))
    hosts = [places.nats.host, places.nats_public.host]
    made = server_secrets(FileSecretStore(secrets), hosts, [peer.host for peer in places.nats_peers], places.web_hosts)
    identity = values.identity
    settings = ServerSettings(
        namespace, identity.issuer, "", identity.project_id, identity.cli_client_id, "v0.1.0", values.upgrade
    )
    return server_plan(settings, made, places).services


def direct(values: ChartValues, namespace: str, secrets: Path) -> dict[str, Json]:
    """What a direct install of the same shape applies, but for what is not helm's: the namespace and the Secrets."""
    services = services_of(values, namespace, secrets)
    objects = (*server_objects(namespace, web=values.web.enabled), *render(services, shape_of(values), namespace))
    return {key(item): without_digest(item) for item in objects if item["kind"] not in {"Namespace", "Secret"}}


def files_of(values: ChartValues, secrets: Path) -> list[str]:
    """The digests of the pods' files as a direct install makes them."""
    return [files_digest(service) for service in services_of(values, "here", secrets)]


def by_chart(objects: list[Json]) -> dict[str, Json]:
    """What helm applies, without what only the chart has: its job, and the word that definitions stay."""
    found: dict[str, Json] = {}
    for item in objects:
        annotations = item["metadata"].get("annotations", {})
        if "helm.sh/hook" not in annotations:
            annotations.pop("helm.sh/resource-policy", None)
            if not annotations:
                item["metadata"].pop("annotations", None)
            assert key(item) not in found, f"{key(item)} is there twice"
            found[key(item)] = without_digest(item)
    return found


def key(item: Json) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def without_digest(item: Json) -> Json:
    """The pods' digest is of their files, which helm does not know; it has one of what they are made from."""
    template = item["spec"].get("template") if item["kind"] in {"Deployment", "StatefulSet"} else None
    if template is not None:
        assert len(template["metadata"]["annotations"].pop(DIGEST)) == 32
    return item


@pytest.mark.parametrize("exposure", Exposure, ids=lambda exposure: exposure.value)
def test_helm_and_a_direct_install_apply_the_same_objects(helm: Helm, exposure: Exposure, tmp_path: Path) -> None:
    for changed in changes() if exposure is Exposure.INGRESS else ({}, ALL):
        values = given(**changed, nats__exposure=exposure.value)
        wanted = direct(parsed(**changed, nats__exposure=exposure.value), "here", tmp_path / "secrets")
        found = by_chart(helm.template(values))
        assert list(found) == list(wanted) or sorted(found) == sorted(wanted)
        for name, item in wanted.items():
            assert found[name] == item, f"{name} with {changed}"


def test_a_port_of_ones_own_and_users_of_any_size(helm: Helm, tmp_path: Path) -> None:
    values: Json = {"nats__port": 31999, "user": 1000770000, "callout__replicas": 5}
    found = by_chart(helm.template(given(**values)))
    assert found == direct(parsed(**values), "here", tmp_path / "secrets")


def test_pods_are_replaced_when_their_files_change_and_only_then(helm: Helm, tmp_path: Path) -> None:
    def digests(values: Json) -> set[str]:
        found = [item["spec"]["template"] for item in helm.template(values) if item["kind"] == "Deployment"]
        return {template["metadata"]["annotations"][DIGEST] for template in found}

    base, files = digests(given()), files_of(parsed(), tmp_path)
    assert len(base) == 2
    others: list[Json] = [{name: value} for name, value in ALL.items()]
    others += [
        {"nats__exposure": "route"},
        {"nats__host": "other.example.org"},
        {"nats__port": 31000},
        {"image": "b:1"},
        {"upgrade__atOnce": 5},
        {"upgrade__abortAfter": 1},
        {"upgrade__soak": 600},
        INGRESS,
    ]
    others += [{"identity__issuer": "https://other.example.org"}, {"identity__projectId": "project-2"}]
    for changed in others:
        same = files_of(parsed(**changed), tmp_path) == files
        assert (digests(given(**changed)) == base) is same, changed
    assert len(digests(given(callout__replicas=1)) & base) == 1, "the operator alone knows how many callouts there are"
    assert digests(given(**INGRESS)) == digests(given(**ROUTE)) == digests(given(**CLASSED)), "no file knows the way in"


def test_another_server_of_the_cluster_leaves_the_definitions_alone(helm: Helm) -> None:
    kinds = {item["kind"] for item in helm.template(given(definitions=False))}
    assert "CustomResourceDefinition" not in kinds
    assert "StatefulSet" in kinds


def test_the_job_comes_first_and_is_told_the_values(helm: Helm) -> None:
    values = given(identity={"issuer": "https://id.example.org", "adminTokenSecret": "admin", "ca": "-----BEGIN\nX\n"})
    hooks = {
        key(item): item for item in helm.template(values) if "helm.sh/hook" in item["metadata"].get("annotations", {})
    }
    assert {name.partition("/")[0] for name in hooks} == {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Job"}
    told = json.loads(hooks["ConfigMap/fleet-prepare"]["data"]["values.json"])
    assert told["identity"]["ca"] == "-----BEGIN\nX\n"
    assert told["nats"]["host"] == "nats.example.org"
    assert hooks["Job/fleet-withdraw"]["metadata"]["annotations"]["helm.sh/hook"] == "post-delete"
    pod = hooks["Job/fleet-prepare"]["spec"]["template"]["spec"]
    assert {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume} == {"admin"}
    (role,) = [item for name, item in hooks.items() if name.startswith("Role/")]
    names = {name for rule in role["rules"] for name in rule.get("resourceNames", ())}
    assert names == {STORE, LOG_READER_SECRET, SERVER_CONFIG_MAP, *(named(service) for service in SERVICES)}
    weights = {
        name.partition("/")[0]: int(item["metadata"]["annotations"]["helm.sh/hook-weight"])
        for name, item in hooks.items()
    }
    assert max(weights, key=lambda kind: weights[kind]) == "Job"


def test_the_chart_is_clean(helm: Helm) -> None:
    told = helm("lint", str(helm.chart), "--strict", "--values", helm.values(given()))
    assert "0 chart(s) failed" in told
    assert "WARNING" not in told


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"nats__replicas": 2}, "/nats/replicas': value must be one of 1, 3"),
        ({"nats__exposure": "tunnel"}, "'ingress', 'load-balancer', 'node-port', 'route'"),
        ({"upgrade__atOnce": 0}, "/upgrade/atOnce': minimum: got 0, want 1"),
        ({"upgrade__soak": 0}, "/upgrade/soak': exclusiveMinimum: got 0, want 0"),
        ({"callout__replicas": 0}, "/callout/replicas': minimum: got 0, want 1"),
        ({"nats__port": 70000}, "maximum: got 70,000, want 65,535"),
        ({"nats__hots": "x"}, "additional properties 'hots' not allowed"),
        ({"user": "root"}, "got string, want integer"),
        ({"nats__host": ""}, "nats.host: give the name or IPv4 address by which devices reach NATS"),
        ({"nats__host": "nats.example.org:4222"}, "nats.host: give the name"),
        ({"identity__issuer": "id.example.org"}, "identity.issuer: give the identity provider's URL"),
        ({"identity__issuer": "https://id.example.org/"}, "without a slash at its end"),
        ({"identity__projectId": ""}, "give either identity.adminTokenSecret, or both"),
        ({"identity__adminTokenSecret": "admin"}, "give either identity.adminTokenSecret, or both"),
        ({"nats__storage": {"size": "5GB"}}, "nats.storage.size: give a size in Mi, Gi or Ti"),
        ({"image": "a b"}, "image: give the product's image"),
        ({"web__host": "https://x"}, "web.host: give the name"),
        (
            {"web__enabled": True, "web__host": "x"},
            "give web.host, the name by which browsers reach",
        ),
        ({"web__enabled": True, "web__exposure": "route"}, "give web.host, the name by which"),
        ({"web__host": "x", "web__exposure": "ingress"}, "give web.host, the name by which"),
        ({"web__enabled": True, "web__exposure": "node-port"}, "'ingress', 'port-forward', 'route'"),
    ],
)
def test_bad_values_are_refused_in_words_by_helm_and_by_the_job(helm: Helm, changed: Json, words: str) -> None:
    assert words in helm.refusal(given(**changed))
    with pytest.raises(InvalidInput):
        parsed(**changed)


def test_the_schema_knows_every_value_and_explains_it() -> None:
    def explained(node: Any) -> None:  # noqa: ANN401 - any part of a schema
        for name, about in node.get("properties", {}).items():
            assert name == "global" or about["description"].endswith("."), name

    schema = values_schema()
    explained(schema)
    for group in schema["$defs"].values():
        explained(group)


def test_the_chart_is_the_same_bytes_every_time() -> None:
    assert package() == package()


def test_generated_files_are_current() -> None:
    for path, text in generated().items():
        assert (FOLDER / path).read_text() == text, f"{path}: make docs"


def test_a_checkout_has_the_chart_of_its_own_version() -> None:
    assert chart_files() == {path: (FOLDER / path).read_text() for path in chart_files()}
    assert (ROOT / "charts/fleet").resolve() == FOLDER


def test_templates_refuse_by_the_rules_of_the_job() -> None:
    checks = (FOLDER / "templates/validate.yaml").read_text()
    for rule in RULES:
        assert f"regexMatch `{rule.pattern}` .Values.{rule.path}" in checks
        assert f"{rule.path}: {rule.says}" in checks
    assert ONE_IDENTITY in checks
    assert WEB_ADDRESS in checks
