"""The Zitadel double as a pod, behind a node port: one URL for pods, devices and tests (decision 020)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from harness.probes.kube import KubeProbe
from harness.processes.spawn import http_answers
from harness.targets.certificates import Authority
from harness.targets.identity import ZITADEL, ZitadelDouble
from harness.wait import wait_until

Json = dict[str, Any]

_PORT = 8443
_READY_WITHIN = 60.0


def start(kube: KubeProbe, namespace: str, image: str, port: int, root: Path) -> ZitadelDouble:
    """Run it, and return once it answers on `https://localhost:PORT`. Its state is in the world's folder.

    Raises:
        WaitTimeout: it did not come up in time.
    """
    authority = Authority(root / "tls")
    certificate, key = authority.issue(ZITADEL)
    state = root / "identity"
    state.mkdir()
    state.chmod(0o777)  # the pod's user is not ours; the world's folder above is private
    kube.create("/api/v1/namespaces", _meta(namespace))
    secret = {"tls.crt": _encoded(certificate), "tls.key": _encoded(key)}
    made = [
        ("api/v1", "secrets", "Secret", {"data": secret}),
        ("api/v1", "services", "Service", {"spec": _service(port)}),
        ("apis/apps/v1", "deployments", "Deployment", {"spec": _deployment(image, state)}),
    ]
    for group, plural, kind, content in made:
        value = {"apiVersion": group.partition("/")[2], "kind": kind, **_meta(ZITADEL), **content}
        kube.create(f"/{group}/namespaces/{namespace}/{plural}", value)
    issuer = f"https://localhost:{port}"
    page = f"{issuer}/.well-known/openid-configuration"
    wait_until(
        lambda: http_answers(page, ca=authority.certificate),
        f"the identity provider answers at {issuer}",
        timeout=_READY_WITHIN,
        interval=0.1,
    )
    return ZitadelDouble(issuer, authority.certificate, state)


def _meta(name: str) -> Json:
    return {"metadata": {"name": name, "labels": {"app.kubernetes.io/component": ZITADEL}}}


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _service(port: int) -> Json:
    ports = [{"port": port, "targetPort": _PORT, "nodePort": port}]
    return {"type": "NodePort", "selector": {"app": ZITADEL}, "ports": ports}


def _deployment(image: str, state: Path) -> Json:
    labels = {"app": ZITADEL, "app.kubernetes.io/component": ZITADEL}
    command = ["python3", "-sP", "-m", "harness.doubles.zitadel", "--state=/state", "--host=0.0.0.0", f"--port={_PORT}"]
    command += ["--tls-cert=/tls/tls.crt", "--tls-key=/tls/tls.key", "--device-interval=1"]
    container: Json = {
        "name": ZITADEL,
        "image": image,
        "imagePullPolicy": "Never",
        "command": command,
        "volumeMounts": [{"name": "state", "mountPath": "/state"}, {"name": "tls", "mountPath": "/tls"}],
        "readinessProbe": {
            "httpGet": {
                "path": "/.well-known/openid-configuration",
                "port": _PORT,
                "scheme": "HTTPS",
                "httpHeaders": [{"name": "Host", "value": "localhost"}],  # it answers for its own names only
            },
            "periodSeconds": 1,
        },
    }
    pod: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [
            {"name": "state", "hostPath": {"path": str(state), "type": "Directory"}},
            {"name": "tls", "secret": {"secretName": ZITADEL, "defaultMode": 0o444}},
        ],
    }
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app": ZITADEL}},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
