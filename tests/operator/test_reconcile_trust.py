"""Whether a device trusts what the server's devices are to trust, as its status says."""

from __future__ import annotations

import msgspec

from fleet.contract.certificates import certificate_id
from fleet.contract.config import SecretAge
from fleet.install.tls import ends, new_authority, new_key
from fleet.operator.counts import Counts
from fleet.operator.reconcile.trust import condition
from fleet.operator.store import Store
from tests.operator.model import INFO, fleet

OLD, NEW = "sha256:old", "sha256:new"
BOTH = msgspec.structs.replace(INFO, trusts=(OLD, NEW))
BEFORE = msgspec.structs.replace(INFO, trusts=(OLD,))


def test_nothing_is_said_where_there_is_no_cause() -> None:
    assert condition(BOTH, (OLD, NEW), online=True) is None
    assert condition(None, (OLD,), online=False) is None
    assert condition(INFO, (OLD,), online=True) is None, "an agent of a former release does not say what it trusts"
    assert condition(BEFORE, (), online=True) is None, (
        "an install of a former release does not say what is to be trusted"
    )


def test_a_device_that_takes_its_time_is_told_from_one_that_was_left_behind() -> None:
    late, left = condition(BEFORE, (OLD, NEW), online=True), condition(BEFORE, (NEW,), online=False)
    assert late
    assert (late.reason, NEW in late.message) == ("NotTakenYet", True)
    assert left
    assert left.reason == "LeftBehind"
    assert "fleet device setup --trust" in left.message


def test_a_device_that_still_trusts_the_old_one_is_told() -> None:
    still = condition(BOTH, (NEW,), online=True)
    assert still
    assert (still.reason, OLD in still.message) == ("StillTrusts", True)


def test_the_status_follows_what_the_device_says() -> None:
    world = fleet("pi-1")
    world.trust_bundle = (OLD, NEW)
    world.infos["pi-1"] = BEFORE
    world.settle()
    assert world.condition("pi-1", "BundleOutdated") == ("True", "NotTakenYet")
    world.now += 31
    world.settle()
    assert world.condition("pi-1", "BundleOutdated") == ("True", "LeftBehind")
    world.infos["pi-1"] = BOTH
    world.settle()
    assert "BundleOutdated" not in {one.type for one in world.devices["pi-1"].status.conditions}


def test_the_metrics_say_whom_a_rotation_waits_for_and_when_what_is_trusted_ends() -> None:
    world, bundle = fleet("pi-1", "pi-2"), new_authority(new_key(), "fleet").decode()
    world.trust_bundle = (OLD, NEW)
    world.infos["pi-1"] = BEFORE
    world.settle()
    store = Store(3)
    for device in world.devices.values():
        store.devices.put(device)
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in Counts(store, bundle).collect()
        for sample in family.samples
    }
    assert told["fleet_operator_devices_bundle_outdated", "NotTakenYet"] == 1
    end = told["fleet_operator_authority_end_timestamp_seconds", certificate_id(bundle)]
    assert end == ends(bundle.encode()).timestamp()


def test_the_metrics_say_how_old_the_servers_secrets_are_and_when_their_certificates_end() -> None:
    ages = (SecretAge("nats_app_pass", 1_800_000_000), SecretAge("nats_tls_key", 0, 1_900_000_000))
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in Counts(Store(3), "", ages).collect()
        for sample in family.samples
        if "secret" in sample.labels
    }
    assert told == {
        ("fleet_operator_secret_made_timestamp_seconds", "nats_app_pass"): 1_800_000_000,
        ("fleet_operator_certificate_end_timestamp_seconds", "nats_tls_key"): 1_900_000_000,
    }
