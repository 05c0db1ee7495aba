"""`python -m harness.targets.node.volumes KUBECONFIG FOLDER`: a folder for every claim of the default storage class.

Kubernetes' own provisioner uses one path, `/tmp/hostpath_pv`, which several clusters would share. This
folder is visible on every machine of a cluster, like a disk of a network: data survives the loss of a machine.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import Unanswered
from harness.probes.kube import KubeProbe
from harness.targets.node.plan import STORAGE_CLASS

Json = dict[str, Any]

_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"
_INTERVAL = 0.25


def unserved(claims: Sequence[Json], volumes: Sequence[Json]) -> list[Json]:
    """The claims of our class that have no volume yet."""
    served = {_owner(volume) for volume in volumes}
    ours = (claim for claim in claims if claim["spec"].get("storageClassName") == STORAGE_CLASS)
    return [claim for claim in ours if claim["metadata"]["uid"] not in served and not claim["spec"].get("volumeName")]


def unclaimed(claims: Sequence[Json], volumes: Sequence[Json]) -> list[Json]:
    """Our volumes whose claim is gone."""
    live = {claim["metadata"]["uid"] for claim in claims}
    ours = (volume for volume in volumes if volume["spec"].get("storageClassName") == STORAGE_CLASS)
    return [volume for volume in ours if _owner(volume) not in live]


def volume_for(claim: Json, folder: Path) -> Json:
    """A volume that only this claim may have."""
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"folder-{metadata['uid']}"},
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }


def bind_claims(kube: KubeProbe, folder: Path) -> None:
    """Bind pending claims, and remove unclaimed volumes."""
    claims, volumes = _items(kube, _CLAIMS), _items(kube, _VOLUMES)
    for claim in unserved(claims, volumes):
        own = folder / claim["metadata"]["uid"]
        own.mkdir(parents=True, exist_ok=True)
        own.chmod(0o777)  # a pod runs as whatever user it likes
        kube.create(_VOLUMES, volume_for(claim, own))
    for volume in unclaimed(claims, volumes):
        kube.delete(f"{_VOLUMES}/{volume['metadata']['name']}")
        shutil.rmtree(folder / _owner(volume), ignore_errors=True)


def _owner(volume: Json) -> str:
    return volume["spec"].get("claimRef", {}).get("uid", "")


def _items(kube: KubeProbe, path: str) -> list[Json]:
    return (kube.get(path) or {}).get("items", [])


def main(kubeconfig: Path, folder: Path) -> None:
    """Bind claims until this process ends; an API server that is away is asked again."""
    kube = KubeProbe(kubeconfig, "default")
    while True:
        with contextlib.suppress(Unanswered):
            bind_claims(kube, folder)
        time.sleep(_INTERVAL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
