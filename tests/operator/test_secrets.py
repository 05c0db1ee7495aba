"""Secrets from Kubernetes to a device's key, on a real API server: read by name, sealed, and nowhere else in clear."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from fleet.contract.buckets import DESIRED_INDEX, DESIRED_STATE, DEVICE_STATE
from fleet.contract.objects import DEPLOYMENTS, DEVICES
from fleet.contract.states import DeviceStates, entry
from fleet.contract.wire import Desired, DeviceState, Phase, Reason
from fleet.sealing.box import new_key, open_sealed, public_half
from harness.wait import wait_until
from tests.support.openbao import Bao
from tests.support.operator import Operator

CANARY = "canary-91be"
Name = Callable[[str], str]


def secret(operator: Operator, name: str, value: str, *, label: str = "true", kind: str = "Opaque") -> None:
    """Make a Secret with a password, or change it."""
    apply_secret(operator, name, {"password": value}, label=label, kind=kind)


def apply_secret(
    operator: Operator, name: str, values: dict[str, str], *, label: str = "no", kind: str = "Opaque"
) -> None:
    """Make a Secret, or change it."""
    item = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": operator.namespace, "labels": {"fleet.nationtech.io/sealable": label}},
        "type": kind,
        "stringData": values,
    }
    operator.kube.kubectl("apply", "--server-side", "--field-manager=test", "-f", "-", stdin=json.dumps(item))


def takes(name: str) -> dict[str, object]:
    return {"secretEnv": {"PASSWORD": {"name": name, "key": "password"}}}


class Pi:
    """A device with a key of its own."""

    def __init__(self, operator: Operator, name: str) -> None:
        self.operator, self.name, self.key = operator, name, new_key()
        operator.add_device(name, subject=f"sub-{name}")
        operator.kube.kubectl("-n", operator.namespace, "label", "fdev", name, f"for={name}")
        operator.beat(name, 60)
        operator.inform(name, sealing_key=public_half(self.key))

    def told(self, app: str, *, other: Desired | None = None, timeout: float = 30) -> Desired:
        """What it is told, once that is something else than `other`."""
        found = wait_until(
            lambda: self.operator.keys.get(DESIRED_STATE, f"{self.name}.{app}"),
            f"{self.name} is told of {app}",
            timeout=timeout,
            until=lambda desired: desired is not None and desired != other,
        )
        assert found
        return found

    def opens(self, app: str, desired: Desired) -> str:
        assert desired.sealed
        return open_sealed(desired.sealed.data, self.key, self.name, app).env["PASSWORD"]

    def runs(self, app: str, desired: Desired) -> None:
        state = DeviceState(desired.generation, Phase.RUNNING, Reason.STARTED, secrets=desired.edition[1])
        self.operator.keys.put(DEVICE_STATE, self.name, DeviceStates({app: entry(state)}))


def test_a_secret_is_sealed_for_the_device_and_its_change_is_too(operator: Operator, name: Name) -> None:
    app, db = name("web"), name("db")
    secret(operator, db, CANARY)
    pi = Pi(operator, name("pi"))
    operator.deploy(app, select={"for": pi.name}, container=takes(db))
    told = pi.told(app)
    assert pi.opens(app, told) == CANARY
    pi.runs(app, told)
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("True", "AllReady"), timeout=30)
    secret(operator, db, f"{CANARY}-2")
    changed = pi.told(app, other=told)
    assert pi.opens(app, changed) == f"{CANARY}-2"
    assert changed.generation == told.generation
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "InProgress"), timeout=30)
    pi.runs(app, changed)
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("True", "AllReady"), timeout=30)
    # It is deleted while it is in use, and one comes that is not for devices.
    operator.kube.kubectl("-n", operator.namespace, "delete", "secret", db)
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "SecretMissing"), timeout=30)
    operator.await_condition(DEVICES, pi.name, "WorkloadTrouble", ("True", "SecretMissing"), timeout=30)
    secret(operator, db, f"{CANARY}-3", label="no")
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "SecretNotSealable"), timeout=30)
    assert pi.told(app) == changed, "what runs goes on"
    assert CANARY not in operator.log_file.read_text()
    shown = operator.kube.kubectl("-n", operator.namespace, "get", "fdep,fdev,events,cm", "-o", "json")
    assert CANARY not in shown
    assert base64.b64encode(CANARY.encode()).decode()[:-2] not in shown


def test_a_secret_that_was_corrected_right_before_the_order_is_the_one_that_is_sealed(
    operator: Operator, name: Name
) -> None:
    app, db = name("web"), name("db")
    pi = Pi(operator, name("pi"))
    secret(operator, db, "password-0")
    operator.deploy(app, select={"for": pi.name}, container=takes(db))
    told = pi.told(app)
    # More than once: the operator may read everything by chance between the two writes.
    for number in (1, 2, 3):
        secret(operator, db, f"password-{number}")
        operator.edit_deployment(app, workload={"type": "container", "image": f"app:new-{number}", **takes(db)})
        told = wait_until(
            lambda: operator.keys.get(DESIRED_STATE, f"{pi.name}.{app}"),
            f"{pi.name} is told of {app} {number}",
            timeout=30,
            until=lambda desired: desired is not None and desired.generation > number,  # noqa: B023 - at once
        )
        assert told
        assert pi.opens(app, told) == f"password-{number}", "it is sent with what was there before"


def test_the_store_of_nats_holds_no_secret_in_clear(operator: Operator, name: Name) -> None:
    app, db = name("web"), name("db")
    secret(operator, db, f"{CANARY}-stored")
    pi = Pi(operator, name("pi"))
    operator.deploy(app, select={"for": pi.name}, container=takes(db))
    assert pi.opens(app, pi.told(app)) == f"{CANARY}-stored"
    for word, expected in ((f"{CANARY}-stored", 1), (pi.name, 0)):
        grep = ["grep", "-rqaF", word, str(Path(operator.nats.root))]
        assert subprocess.run(grep, check=False).returncode == expected, word


def test_a_restarted_operator_seals_nothing_anew(operator: Operator, name: Name) -> None:
    app, db = name("web"), name("db")
    secret(operator, db, CANARY)
    pi = Pi(operator, name("pi"))
    operator.deploy(app, select={"for": pi.name}, container=takes(db))
    told = pi.told(app)
    # An entry counts once the index names it, which is written after it.
    wait_until(
        lambda: operator.keys.get(DESIRED_INDEX, pi.name),
        f"{pi.name}'s index names {app}",
        until=lambda index: index is not None and app in index.deployments,
        timeout=30,
    )
    operator.kill()
    operator.start_ready()
    marker = name("marker")
    operator.deploy(marker, select={"for": pi.name})
    pi.told(marker)
    assert pi.told(app) == told


def test_what_a_device_says_is_its_key_harms_nobody_else(operator: Operator, name: Name) -> None:
    app, db = name("web"), name("db")
    secret(operator, db, CANARY)
    bad, good = Pi(operator, name("pi")), Pi(operator, name("pi"))
    operator.inform(bad.name, sealing_key="A" * 43 + "=")
    for pi in (bad, good):
        operator.kube.kubectl("-n", operator.namespace, "label", "fdev", pi.name, f"app={app}")
    operator.deploy(app, select={"app": app}, container=takes(db))
    assert good.opens(app, good.told(app)) == CANARY
    assert operator.keys.get(DESIRED_STATE, f"{bad.name}.{app}") is None


def test_what_is_in_openbao_comes_to_the_device_and_is_nowhere_else(operator: Operator, name: Name, bao: Bao) -> None:
    app, later, db, folder = name("web"), name("later"), name("db"), bao.fresh()
    token = bao.token_for(f'path "secret/data/{folder}/*" {{ capabilities = ["read"] }}')
    connection = {"url": bao.url, "path": folder, "ca": bao.tls.ca, "token": token}
    apply_secret(operator, "fleet-openbao", connection)
    apply_secret(operator, db, {"path": "web/db"}, label="true", kind="fleet.nationtech.io/openbao")
    entry_of = f"secret/data/{folder}/web/db"
    bao.call("POST", entry_of, {"data": {"password": f"{CANARY}-bao"}})
    pi = Pi(operator, name("pi"))
    operator.deploy(app, select={"for": pi.name}, container=takes(db))
    told = pi.told(app)
    assert pi.opens(app, told) == f"{CANARY}-bao"
    pi.runs(app, told)
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("True", "AllReady"), timeout=30)
    bao.call("POST", entry_of, {"data": {"password": f"{CANARY}-bao-2"}})
    changed = pi.told(app, other=told)
    assert pi.opens(app, changed) == f"{CANARY}-bao-2"
    pi.runs(app, changed)
    bao.seal()
    try:
        # The one that is new has a Secret of its own, of which nothing was read before.
        apply_secret(operator, later, {"path": "web/db"}, label="true", kind="fleet.nationtech.io/openbao")
        operator.deploy(later, select={"for": pi.name}, container=takes(later))
        operator.await_condition(DEPLOYMENTS, later, "Ready", ("False", "OpenBaoAway"), timeout=30)
        operator.await_condition(DEPLOYMENTS, app, "Ready", ("True", "AllReady"), timeout=30)
        assert pi.told(app) == changed, "what runs goes on"
        assert operator.readiness() == ""
    finally:
        bao.unseal()
    # It is asked again after a pause that has grown to a minute at most.
    assert pi.opens(later, pi.told(later, timeout=120)) == f"{CANARY}-bao-2"
    shown = operator.kube.kubectl("-n", operator.namespace, "get", "fdep,fdev,events,cm,secrets", "-o", "json")
    clear = f"{CANARY}-bao"
    for where in (operator.log_file.read_text(), shown):
        assert clear not in where
        assert base64.b64encode(clear.encode()).decode()[:-2] not in where
    assert token not in operator.log_file.read_text()
    for word, expected in ((clear, 1), (token, 1), (pi.name, 0)):
        grep = ["grep", "-rqaF", word, str(Path(operator.nats.root))]
        assert subprocess.run(grep, check=False).returncode == expected
