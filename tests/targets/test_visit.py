"""A visit to a real API server by a user of limited rights: what is let through, and what is refused, and to whom."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from fleet.contract.objects import API_VERSION
from harness.doubles.zitadel.serve import Running
from harness.errors import Misused, TargetUnavailable
from harness.targets.cluster import cluster
from harness.targets.cluster.description import Kind
from harness.targets.cluster.policy import RUN_LABEL
from harness.wait import wait_until
from harness.world.world import World
from tests.support.kube import Kube
from tests.targets.conftest import Handed, documented_role, hand_over

RUN = "a" * 32


@pytest.fixture(autouse=True, scope="module")
def _no_real_engine() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEET_ENGINE_SOCKET", "double")
        yield


@pytest.fixture(scope="module")
def shared(kube: Kube, idp: Running, tmp_path_factory: pytest.TempPathFactory) -> Handed:
    """Module: a cluster with a device of somebody's, for tests that leave it as it is."""
    made = hand_over(kube, idp, tmp_path_factory.mktemp("shared"))
    made.add("somebodys")
    return made


@pytest.fixture(scope="module")
def staging(shared: Handed) -> Iterator[World]:
    """Module: a world on the shared cluster."""
    with cluster("staging", str(shared.describe()), run_id=RUN, worker="main") as world:
        yield world


@pytest.fixture
def production(shared: Handed) -> Iterator[World]:
    """Function: the same for looks only, by a user who might write."""
    file = shared.describe(admin_token_file=None, lab=None)
    with cluster("production", str(file), run_id=RUN, worker="main") as world:
        yield world


def typed(world: World, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=world.env, cwd=world.root, input=stdin, capture_output=True, text=True, check=False, timeout=60
    )


def kubectl(world: World, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return typed(world, "kubectl", "--namespace", world.namespace, *words, stdin=stdin)


MINE = json.dumps({"apiVersion": API_VERSION, "kind": "Device", "metadata": {"name": "mine"}, "spec": {}})
APPLY = ("fleet", "deployment", "apply", "--name", "web", "--image", "web:1", "--selector", "site=nowhere")


def test_the_runs_shell_never_sees_the_clusters_login(shared: Handed, staging: World) -> None:
    """It has a way to the guard only; whoever has not the guard's token gets nowhere."""
    text = Path(staging.env["KUBECONFIG"]).read_text()
    assert shared.kube.url not in text
    other = staging.root / "other"
    other.write_text(re.sub(r'"token": "[^"]*', '"token": "guessed', text))
    asked = typed(staging, "kubectl", "--kubeconfig", str(other), "get", "--raw", "/version")
    assert asked.returncode != 0
    assert "this is the door of a test run, and you are not part of it" in asked.stderr


def test_what_a_run_makes_is_marked_and_removed_and_nothing_else(handed: Handed) -> None:
    """Devices and deployments of others are there before and after, untouched."""
    handed.add("somebodys")
    with cluster("staging", str(handed.describe()), run_id=RUN, worker="main") as world:
        assert kubectl(world, "create", "-f", "-", stdin=MINE).returncode == 0
        applied = typed(world, *APPLY)
        assert applied.returncode == 0, applied.stderr
        assert handed.made_by(RUN) == {"device.fleet.nationtech.io/mine", "fleetdeployment.fleet.nationtech.io/web"}
    assert handed.devices() == {"somebodys"}
    assert not handed.made_by(RUN)


@pytest.mark.parametrize(
    "words",
    [
        ("delete", "device", "somebodys"),
        ("patch", "device", "somebodys", "--type=merge", '--patch={"spec":{"revoked":true}}'),
        ("label", "device", "somebodys", f"{RUN_LABEL}={RUN}"),
        ("delete", "devices", "--all"),
        ("create", "configmap", "x"),
        ("delete", "configmap", "fleet-server"),
        ("delete", "lease", "fleet-test-run"),
        ("create", "namespace", "mine"),
    ],
)
def test_what_is_not_the_runs_own_is_not_touched(shared: Handed, staging: World, words: tuple[str, ...]) -> None:
    """Whatever the login might do: the guard says why, and the API server never hears of it."""
    before = shared.everything()
    refused = kubectl(staging, *words)
    assert refused.returncode != 0
    assert "the harness refuses to send this" in refused.stderr
    assert shared.everything() == before


def test_the_fleet_command_is_held_alike(staging: World) -> None:
    """Revoking somebody else's device is refused in words, without a traceback."""
    refused = typed(staging, "fleet", "device", "revoke", "somebodys")
    assert refused.returncode != 0
    assert "devices/somebodys was made by somebody who is no test run" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_production_is_only_looked_at(shared: Handed, production: World) -> None:
    """Every look works, every write is refused before it is sent, nobody is signed in, and no lease is taken."""
    listed = typed(production, "fleet", "device", "list")
    assert listed.returncode == 0, listed.stderr
    assert "somebodys" in listed.stdout
    assert kubectl(production, "get", "devices").returncode == 0
    before = shared.everything()
    for argv in (
        APPLY,
        ("fleet", "device", "revoke", "somebodys"),
        ("fleet", "device", "delete", "somebodys"),
        ("kubectl", "--namespace", shared.namespace, "delete", "device", "somebodys"),
        ("kubectl", "--namespace", shared.namespace, "create", "configmap", "x"),
    ):
        refused = typed(production, *argv)
        assert refused.returncode != 0, argv
        assert "this run may only look" in refused.stderr, refused.stderr
    assert shared.everything() == before
    assert "FLEET_ADMIN_TOKEN_FILE" not in production.env
    with pytest.raises(TargetUnavailable, match="no machine is free for the device 'pi-1'; there are: none"):
        production.device("pi-1")


def test_a_watch_goes_through_the_guard(shared: Handed, staging: World) -> None:
    """What happens is seen while it happens."""
    argv = ["kubectl", "--namespace", shared.namespace, "get", "devices", "--watch", "-o", "name"]
    with ExitStack() as cleanup:
        watch = cleanup.enter_context(
            subprocess.Popen(argv, env=staging.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
        cleanup.callback(watch.kill)
        assert watch.stdout is not None
        assert watch.stdout.readline().strip() == "device.fleet.nationtech.io/somebodys"
        assert kubectl(staging, "create", "-f", "-", stdin=MINE).returncode == 0
        assert watch.stdout.readline().strip() == "device.fleet.nationtech.io/mine"
    assert kubectl(staging, "delete", "device", "mine").returncode == 0


def test_a_lost_lease_ends_all_writing(handed: Handed) -> None:
    """Somebody who takes the lease by force is respected: nothing is written any more, and the world is broken."""
    with cluster("staging", str(handed.describe()), run_id=RUN, worker="main") as world:
        patch = '{"spec": {"holderIdentity": "a human"}}'
        handed.kube.kubectl("-n", handed.namespace, "patch", "lease", "fleet-test-run", "--type=merge", "-p", patch)
        wait_until(world.problems, "the world is broken", timeout=30, until=lambda it: "lost to a human" in str(it))
        refused = typed(world, *APPLY)
        assert "the lease on the target was lost to a human" in refused.stderr
    assert handed.lease()["holderIdentity"] == "a human"


def test_a_lease_is_renewed_and_given_back(handed: Handed) -> None:
    """Long after its length it is still held; at the end nobody holds it."""
    with cluster("staging", str(handed.describe(lease_seconds=2)), run_id=RUN, worker="main") as world:
        first = handed.lease()
        assert first["holderIdentity"].startswith(f"{RUN} (")
        renewed = wait_until(handed.lease, "it was renewed twice", timeout=30, until=lambda it: _apart(first, it) > 2)
        assert renewed["acquireTime"] == first["acquireTime"]
        assert world.problems() == []
    assert handed.lease()["holderIdentity"] == ""


def _apart(first: dict[str, str], second: dict[str, str]) -> float:
    times = [datetime.fromisoformat(it["renewTime"]) for it in (first, second)]
    return (times[1] - times[0]).total_seconds()


def opened(kind: Kind, file: Path, worker: str = "main") -> None:
    with cluster(kind, str(file), run_id=RUN, worker=worker):
        pass


def test_an_expired_login_is_told_as_such(handed: Handed) -> None:
    """With what to do, before anything else is looked at."""
    kubeconfig = handed.user()
    handed.kube.kubectl("-n", handed.namespace, "delete", "serviceaccounts", "--all")
    with pytest.raises(TargetUnavailable, match=r"(?s)is expired or unknown to the cluster.*next: log in again"):
        opened("staging", handed.describe(kubeconfig=str(kubeconfig)))


def test_a_context_that_does_not_exist_is_told(handed: Handed) -> None:
    with pytest.raises(TargetUnavailable, match=r'(?s)cannot be used:.*context "elsewhere" does not exist'):
        opened("staging", handed.describe(context="elsewhere"))


def test_an_api_server_that_is_away_is_told(handed: Handed) -> None:
    kubeconfig = handed.user()
    kubeconfig.write_text(kubeconfig.read_text().replace(handed.kube.url, "https://localhost:1"))
    with pytest.raises(TargetUnavailable, match=r"the API server of .* does not answer"):
        opened("staging", handed.describe(kubeconfig=str(kubeconfig)))


def test_everything_that_the_cluster_lacks_is_listed(handed: Handed) -> None:
    """A right for one kind, a server that is another one, an issuer that is away."""
    every = "[devices], verbs: [get, list, watch, create, patch, delete]"
    role = documented_role().replace(every, "[devices], verbs: [list]")
    file = handed.describe(kubeconfig=str(handed.user(role)), issuer="https://localhost:1", exposure="tls://nats:4222")
    with pytest.raises(TargetUnavailable) as caught:
        opened("staging", file)
    for words in (
        f"the login may not create devices in {handed.namespace}",
        f"the login may not patch devices in {handed.namespace}",
        f"issuer: the server's is {handed.idp.issuer}, described is https://localhost:1",
        "exposure: the server's is tls://localhost:4222, described is tls://nats:4222",
        "the issuer https://localhost:1 does not answer",
    ):
        assert words in str(caught.value)
    assert "fleetdeployments" not in str(caught.value)


def test_without_a_server_nothing_is_installed(handed: Handed) -> None:
    handed.kube.kubectl("-n", handed.namespace, "delete", "configmap", "fleet-server")
    with pytest.raises(TargetUnavailable, match="no fleet server is installed in"):
        opened("staging", handed.describe())


def test_workers_do_not_share_it(handed: Handed) -> None:
    with pytest.raises(Misused, match=r"(?s)workers cannot share it.*next: give -n 0"):
        opened("staging", handed.describe(), worker="gw0")
