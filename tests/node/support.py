"""Objects for tests on a node, and kubectl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec

from harness.wait import wait_until

Json = dict[str, Any]


def kubectl(kubeconfig: Path, *words: str, stdin: str = "") -> str:
    """What an admin's kubectl prints."""
    argv = ["kubectl", "--kubeconfig", str(kubeconfig), *words]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def web(name: str, image: str, port: int) -> list[Json]:
    """A web server with a volume behind a Service with a node port."""
    labels = {"app": name}
    container = {
        "name": "web",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["httpd", "-f", "-p", "80", "-h", "/www"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": [volume]}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "nodePort": port}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]


def apply(kubeconfig: Path, namespace: str, objects: list[Json]) -> None:
    """Create the objects in a new namespace of their own; its ServiceAccount must be there before a pod can be."""
    kubectl(kubeconfig, "create", "namespace", namespace)
    wait_until(
        lambda: "default" in kubectl(kubeconfig, "-n", namespace, "get", "serviceaccounts", "-o", "name"),
        "the namespace has its ServiceAccount",
        timeout=20,
    )
    text = msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": objects}).decode()
    kubectl(kubeconfig, "-n", namespace, "apply", "-f", "-", stdin=text)


def await_rollout(kubeconfig: Path, namespace: str, name: str) -> None:
    """Until a Deployment's pods are ready."""
    kubectl(kubeconfig, "-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=50s")
