"""A service as a pod: as little privilege as there is, files from a Secret, and probes."""

from __future__ import annotations

import hashlib

import msgspec

from fleet.topology.capabilities import Json, Service
from fleet.topology.kubernetes.labels import MANAGED, named, pods_of
from fleet.topology.kubernetes.shape import Shape

_FILES, _DATA, _TMP = "/etc/fleet", "/data", "/tmp"  # noqa: S108 - a volume of the pod's own
DIGEST = "fleet.nationtech.io/files"
"""The annotation by which pods are replaced when their files change."""
RENEWED = "fleet.nationtech.io/renewed"
"""The same, where `DIGEST` is helm's or ArgoCD's: they know of no such annotation, and leave it alone."""
_READ_BY_GROUP = 0o440
"""A Secret's files belong to root; a pod's user reads them as a member of the volumes' group."""
CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


class _Needs(msgspec.Struct, frozen=True):
    """Of one pod, in Kubernetes' units: asked for, and at most."""

    cpu: str
    memory: str
    most_cpu: str
    most_memory: str


_NEEDS = {
    "nats": _Needs("100m", "128Mi", "2", "1Gi"),
    "operator": _Needs("50m", "128Mi", "1", "512Mi"),
    "postgres": _Needs("100m", "256Mi", "2", "1Gi"),
    "zitadel": _Needs("100m", "256Mi", "2", "1Gi"),
}
_SMALL = _Needs("50m", "96Mi", "1", "256Mi")
_WITH_A_PAGE = _Needs("50m", "128Mi", "1500m", "768Mi")
"""The operator's, where it serves the web page from a process of its own. With 10,000 devices the operator takes 215
MiB, the page 204, and who reads slowly 48 more (measured: `docs/web.md`): together too near to 512. A screen may take
a quarter of a core, and the quota of a container does not know that the page has the lower priority.
"""


def files_digest(service: Service) -> str:
    """Differs when any file of the service does; tells nothing of what is in them."""
    digest = hashlib.sha256()
    for name, content in sorted(service.files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


def filled(text: str) -> str:
    """A text of the plan with the folders of a pod; Kubernetes fills in the instance's name."""
    return text.replace("{files}", _FILES).replace("{data}", _DATA).replace("{instance}", "$(POD_NAME)")


def pod_template(service: Service, shape: Shape, digest: str) -> Json:
    """The pods of a service; `digest` is that of its files."""
    labels = MANAGED | pods_of(service.name)
    spec: Json = {
        "automountServiceAccountToken": bool(service.account),
        # Service links would hand every Service's address to each pod, in variables named as our own are.
        "enableServiceLinks": False,
        "securityContext": pod_security(shape),
        "terminationGracePeriodSeconds": 30,
        "containers": [_container(service, shape)],
        "volumes": [
            {"name": "files", "secret": {"secretName": named(service.name), "defaultMode": _READ_BY_GROUP}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            *({"name": _scratch(number), "emptyDir": {"sizeLimit": "64Mi"}} for number in range(len(service.scratch))),
        ],
    }
    if service.account:
        spec["serviceAccountName"] = service.account
    if shape.pull_secret:
        spec["imagePullSecrets"] = [{"name": shape.pull_secret}]
    if service.replicas > 1:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": pods_of(service.name)},
            }
        ]
    return {"metadata": {"labels": labels, "annotations": {DIGEST: digest}}, "spec": spec}


def pod_security(shape: Shape) -> Json:
    """What the restricted standard wants of a pod; the user is the place's choice, where it makes one."""
    security: Json = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if shape.user is not None:
        security |= {"runAsUser": shape.user, "fsGroup": shape.user, "fsGroupChangePolicy": "OnRootMismatch"}
    return security


def _container(service: Service, shape: Shape) -> Json:
    needs = _WITH_A_PAGE if "web" in service.ports else _NEEDS.get(service.name, _SMALL)
    own_image = _image_of(service.program, shape)
    mounts = [{"name": "files", "mountPath": _FILES, "readOnly": True}, {"name": "tmp", "mountPath": _TMP}]
    if service.keeps_data:
        mounts.append({"name": "data", "mountPath": _DATA})
    mounts += [{"name": _scratch(number), "mountPath": folder} for number, folder in enumerate(service.scratch)]
    env: list[Json] = [{"name": name, "value": filled(value)} for name, value in {"HOME": _TMP, **service.env}.items()]
    if any("{instance}" in arg for arg in service.args):
        env.append({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    container: Json = {
        "name": service.name,
        "image": own_image or shape.image,
        "imagePullPolicy": shape.pull_policy,
        "args": [filled(arg) for arg in service.args],
        "env": env,
        "ports": [{"name": name, "containerPort": port} for name, port in service.ports.items()],
        "volumeMounts": mounts,
        "resources": {
            "requests": {"cpu": needs.cpu, "memory": needs.memory},
            "limits": {"cpu": needs.most_cpu, "memory": needs.most_memory},
        },
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        # A minute to come up, then restarted when dead for half of one.
        "startupProbe": _probe(service, service.alive, period=1, failures=60),
        "readinessProbe": _probe(service, service.ready, period=2, failures=2),
        "livenessProbe": _probe(service, service.alive, period=10, failures=3),
    }
    if not own_image:
        container["command"] = [service.program]
    return container


def _image_of(program: str, shape: Shape) -> str:
    """The image of a program that comes with its own, whose entry point it is; empty for the product's."""
    images = {"nats-server": shape.nats_image, "zitadel": shape.zitadel_image, "postgres": shape.postgres_image}
    return images.get(program, "")


def _scratch(number: int) -> str:
    return f"scratch-{number}"


def _probe(service: Service, path: str, *, period: int, failures: int) -> Json:
    return {**_asked(service, path), "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures}


def _asked(service: Service, path: str) -> Json:
    """How the kubelet asks."""
    if service.health_inside:
        url = f"http://127.0.0.1:{service.health_port}{path}"
        return {"exec": {"command": ["wget", "-q", "-O", "/dev/null", url]}}
    port = next(name for name, number in service.ports.items() if number == service.health_port)
    # The kubelet takes any certificate.
    scheme = {"scheme": "HTTPS"} if service.health_tls else {}
    return {"httpGet": {"path": path, "port": port, **scheme}} if path else {"tcpSocket": {"port": port}}
