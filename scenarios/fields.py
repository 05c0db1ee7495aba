"""`docs/workload.md`: every field of a FleetDeployment, from the definition that Kubernetes has."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fleet.contract.crd import deployment_crd

PAGE = Path(__file__).parent.parent / "docs" / "workload.md"

_INTRO = """\
# What a deployment can say

<!-- Written by `make docs` from the definition in fleet/contract; a test holds it current. Do not edit. -->

A FleetDeployment in a file, for `fleet deployment apply --file`, `kubectl apply` or ArgoCD:

```yaml
apiVersion: fleet.nationtech.io/v1alpha1
kind: FleetDeployment
metadata:
  name: web
  namespace: fleet-system
spec:
  selector:
    matchLabels: {site: berlin}
    matchExpressions: [{key: ring, operator: NotIn, values: [canary]}]
  strategy: {type: Rolling, maxUnavailable: 2}
  workload:
    image: registry.example.org/web:1
    command: [httpd, -f, -p, "8080"]
    env: {RELEASE: "1"}
    ports: [{host: 80, container: 8080}]
    restart: unless-stopped
    health: {command: [wget, -q, -O-, "http://localhost:8080/"], interval: 10}
    mounts:
      - {type: volume, source: data, path: /data}
      - {type: bind, source: /srv/media, path: /media, readOnly: true}
      - {type: tmpfs, path: /tmp, size: 1048576}
    files:
      - {path: /etc/web.conf, content: "listen 8080\\n", mode: "0444"}
      - {path: /etc/web.key, secret: {name: web-tls, key: tls.key}, mode: "0400"}
    limits: {memory: 268435456, cpus: 0.5, pids: 100}
    security: {readOnlyRoot: true, capabilities: {drop: [ALL]}}
    user: "1000:1000"
    secretEnv: {PASSWORD: {name: db, key: password}}
    imagePullSecret: registry
```

Several containers that belong together are a workload of the type `pod`. They reach each other by their names, mount
the same volumes, and start in the order in which they wait for each other: [how](decisions/070-pods.md).

```yaml
  workload:
    type: pod
    initContainers:
      - {name: migrate, image: "registry.example.org/migrate:1", mounts: [{type: volume, source: data, path: /data}]}
    containers:
      - name: db
        image: registry.example.org/db:1
        mounts: [{type: volume, source: data, path: /data}]
        health: {command: [pg_isready]}
      - name: web
        image: registry.example.org/web:1
        dependsOn: [{name: db, condition: Healthy}]
        env: {DATABASE: "db:5432"}
        ports: [{host: 80, container: 8080}]
    update: {deadline: 120}
```

A Secret that a workload takes is in the namespace of the deployment, and has the label
`fleet.nationtech.io/sealable=true`: [how it reaches the device](decisions/056-secrets-sealed-to-the-device.md). It may
stand for [what is in OpenBao](operations.md#secrets-of-workloads-in-openbao).

`fleet deployment apply --help` shows the options for the same fields. An unknown field is refused. `kubectl explain
fleetdeployment.spec.workload` prints this table's sentences. Folders and nodes of the device, its network, and more
rights than those of an ordinary container need the leave of the device's owner:
[what a device allows](decisions/051-what-a-device-allows.md).

| field of `spec` | kind | meaning |
|---|---|---|
"""
_EACH = "Each has the fields of a container, and these:"
_WORDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "maxLength": "at most {} characters",
    "maxProperties": "at most {}",
}


def render() -> str:
    """The whole page."""
    versions = deployment_crd()["spec"]["versions"]
    spec = versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return _INTRO + "".join(_rows(spec, ""))


_POD_LISTS = frozenset({"containers", "initContainers"})


def _rows(node: dict[str, Any], path: str, known: Collection[str] = ()) -> list[str]:
    """A row for each field, and those below it; `known` are descriptions of fields that have their rows already."""
    rows: list[str] = []
    for name, field in node.get("properties", {}).items():
        if field.get("description") in known:
            continue
        if name in _POD_LISTS:
            rows.append(f"| `{path}{name}` | {_kind(field)} | {_meaning(field)} {_EACH} |\n")
            descriptions = {one["description"] for one in node["properties"].values()}
            rows += _rows(field["items"], f"{path}{name}[].", descriptions)
            continue
        here = f"{path}{name}"
        required = ", required" if name in node.get("required", ()) else ""
        rows.append(f"| `{here}` | {_kind(field)}{required} | {_meaning(field)} |\n")
        rows += _rows(field, f"{here}.") if "properties" in field else _rows(field.get("items", {}), f"{here}[].")
    return rows


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{word}`" for word in field["enum"])
    plain = {"array": "list", "object": "map" if "additionalProperties" in field else "object", "string": "text"}
    bounds = [words.format(field[name]) for name, words in _WORDS.items() if name in field]
    kind: str = field["type"]
    return ", ".join([plain.get(kind, kind), *bounds])


def _meaning(field: dict[str, Any]) -> str:
    rules = [rule["message"] for rule in field.get("x-kubernetes-validations", ())]
    rules = [rule for rule in rules if "^" not in rule]  # an expression helps nobody here; kubectl and fleet show it
    return " ".join([field.get("description", ""), *(f"Else refused: «{rule}»." for rule in rules)]).replace("|", "\\|")
