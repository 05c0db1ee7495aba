"""A bundled identity provider: rendered, and held to the real API server. No Zitadel is run here."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.install.identity import identity_services
from fleet.install.tls import covers
from fleet.kube.client import KubeClient
from fleet.secrets.file import FileSecretStore
from fleet.topology.capabilities import Endpoint, Json
from fleet.topology.kubernetes.render import render
from fleet.topology.kubernetes.shape import endpoints
from tests.kubernetes.conftest import SHAPE
from tests.support.kube import Kube

ISSUER = Endpoint("id.example.org", 30443)
BUNDLED = msgspec.structs.replace(SHAPE, zitadel_image="zitadel:test", postgres_image="postgres:test")


def bundled(namespace: str, secrets: Path) -> tuple[Json, ...]:
    places = endpoints(namespace, BUNDLED).identity
    assert places
    return render(identity_services(ISSUER, FileSecretStore(secrets), places), BUNDLED, namespace)


def files(objects: tuple[Json, ...], name: str) -> dict[str, bytes]:
    (secret,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == ("Secret", name)]
    return {file: base64.b64decode(content) for file, content in secret["data"].items()}


def pod(objects: tuple[Json, ...], name: str) -> Json:
    (item,) = [item for item in objects if "template" in item.get("spec", {}) and item["metadata"]["name"] == name]
    return item["spec"]["template"]


def test_the_api_server_takes_every_object_and_a_second_time_changes_none(
    client: KubeClient, home: str, secrets: Path
) -> None:
    objects = bundled(home, secrets)
    assert {"StatefulSet fleet-postgres", "Deployment fleet-zitadel", "Service fleet-zitadel-public"} <= {
        item.name for item in client.apply(objects)
    }
    assert [item.name for item in client.apply(objects) if item.changed] == []


@pytest.mark.parametrize("name", ["fleet-postgres", "fleet-zitadel"])
def test_the_restricted_pod_security_standard_takes_both(kube: Kube, home: str, secrets: Path, name: str) -> None:
    template = pod(bundled(home, secrets), name)
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "any"}}
    mounted = {mount["name"] for mount in template["spec"]["containers"][0]["volumeMounts"]}
    template["spec"]["volumes"] += [claim] if "data" in mounted else []
    assert mounted == {volume["name"] for volume in template["spec"]["volumes"]}
    made = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": name}}
    kube.kubectl("-n", home, "create", "-f", "-", stdin=msgspec.json.encode(made).decode())


def test_zitadel_and_its_database_agree(secrets: Path) -> None:
    objects = bundled("here", secrets)
    zitadel, postgres = files(objects, "fleet-zitadel"), files(objects, "fleet-postgres")
    settings: Any = msgspec.json.decode(zitadel["zitadel.yaml"])
    assert (settings["ExternalDomain"], settings["ExternalPort"]) == ("id.example.org", 30443)
    database = settings["Database"]["postgres"]
    assert database["Host"] == "fleet-postgres.here.svc"
    assert covers(postgres["tls.crt"], [database["Host"]])
    assert covers(zitadel["tls.crt"], ["id.example.org"])
    assert database["Admin"]["Password"].encode() == postgres["password"]
    assert database["User"]["Password"] != database["Admin"]["Password"]
    assert len(zitadel["master.key"]) == 32
    arguments = pod(objects, "fleet-zitadel")["spec"]["containers"][0]["args"]
    assert "/etc/fleet/master.key" in arguments
    assert not {part.decode() for part in (zitadel["master.key"], postgres["password"])} & set(arguments)


def test_only_zitadel_reaches_its_database(secrets: Path) -> None:
    (policy,) = [
        item
        for item in bundled("here", secrets)
        if (item["kind"], item["metadata"]["name"]) == ("NetworkPolicy", "fleet-postgres")
    ]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "zitadel"


def test_made_once(secrets: Path) -> None:
    assert bundled("here", secrets) == bundled("here", secrets)
