"""Run containers that belong together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleet.contract.wire import Reason
from harness.scenario.command import Result
from harness.scenario.command_line import Command, refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.pods import pod_containers
from scenarios.workloads import STACK, STACK_IN_COMPOSE

stack = Scenario(
    id="stack",
    title="Run containers that belong together",
    chapter="Deploy",
    why="Some programs are several containers: they start in an order, share files, and reach each other by name.",
    devices=1,
)


def _only_web_is_another(run: Run, *, release: int) -> None:
    after = _lives(run)
    changed = {name for name, life in after.items() if life != run.kept(Lives).by_name[name]}
    assert changed == {"web"}, f"what was replaced: {sorted(changed)}"
    assert f"RELEASE={release}" in pod_containers(run)["web"]["Config"]["Env"]
    run.keep(Lives(after))


def _lives(run: Run) -> dict[str, str]:
    """Of each container, what is another after every start."""
    return {
        name: f"{details['Id']} since {details['State']['StartedAt']}" for name, details in pod_containers(run).items()
    }


def _time(shown: str) -> datetime:
    return datetime.fromisoformat(shown)


def _volumes(shown: dict[str, Any]) -> set[str]:
    return {mount["Name"] for mount in shown["Mounts"] if mount["Type"] == "volume"}


@dataclass(frozen=True)
class Lives:
    """The lives of the first deployment's containers, by their names."""

    by_name: dict[str, str]


@stack.step(
    "Apply three containers, a volume and a secret",
    "kubectl create secret generic {deployment} --namespace {namespace} --from-file=password=password.txt",
    "kubectl label secret {deployment} --namespace {namespace} fleet.nationtech.io/sealable=true",
    Command("fleet deployment apply --file stack.yaml --wait", deadline=70),
    Command("fleet device show {device}", contains=("  prepare", "  db", "  web")),
    Command("kubectl get fleetdeployment {deployment} --namespace {namespace}", contains=("{image}", "Ready")),
    files={"password.txt": "{secret}", "stack.yaml": STACK},
    look_at=("operator", "agent:device"),
)
def together(run: Run, *_results: Result) -> None:
    """When the command returns, `prepare` has ended well, and the other two have begun after it: `db`, then `web`.

    All three have the same volume. `db` is well: it shows the page that `prepare` wrote there. `web` is well: it has
    fetched that page from `db` by its name. `db` alone has the secret.
    """
    assert checks.says_of(run, "deployment").reason is Reason.HEALTHY
    containers = pod_containers(run)
    states = {name: details["State"]["Status"] for name, details in containers.items()}
    assert states == {"prepare": "exited", "db": "running", "web": "running"}, f"the containers: {states}"
    prepare, db, web = containers["prepare"], containers["db"], containers["web"]
    assert prepare["State"]["ExitCode"] == 0, f"prepare ended with {prepare['State']}"
    begun = [_time(details["State"]["StartedAt"]) for details in (db, web)]
    assert _time(prepare["State"]["FinishedAt"]) <= begun[0] <= begun[1], "they began in another order"
    assert len(_volumes(prepare)) == 1, f"the mounts of prepare: {prepare['Mounts']}"
    assert _volumes(prepare) == _volumes(db) == _volumes(web), "they have not the same volume"
    for name in ("db", "web"):
        assert containers[name]["State"]["Health"]["Status"] == "healthy", f"{name}: {containers[name]['State']}"
    holders = {
        name
        for name, details in containers.items()
        if f"PASSWORD={run.name('secret')}" in (details["Config"]["Env"] or ())
    }
    assert holders == {"db"}, f"the secret is in {holders or 'none'}"
    run.keep(Lives(_lives(run)))


@stack.step(
    "Change one of them",
    Command("fleet deployment apply --file stack.yaml --wait", deadline=70),
    files={"stack.yaml": STACK.replace('RELEASE: "1"', 'RELEASE: "2"')},
    look_at=("agent:device", "operator"),
)
def one_changed(run: Run) -> None:
    """That one is replaced; the others go on, and `prepare` does not run again."""
    names = _lives(run).keys()
    assert names == {"prepare", "db", "web"}, f"the containers: {sorted(names)}"
    _only_web_is_another(run, release=2)


@stack.step(
    "Go back to what it was",
    "fleet deployment pause {deployment}",
    refused("fleet deployment restart {deployment}", 5, contains="is paused"),
    "fleet deployment resume {deployment}",
    "fleet deployment history {deployment}",
    Command("fleet deployment rollback {deployment} --wait", deadline=70),
    look_at=("agent:device", "operator"),
)
def gone_back(run: Run, _pause: Result, _refusal: Result, _resume: Result, history: Result, _back: Result) -> None:
    """The one that was changed is as before, and it alone is replaced. The history has both revisions."""
    _, *rows = history.stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["2", "1"], f"the revisions: {history.stdout}"
    _only_web_is_another(run, release=1)


@stack.step(
    "Start all of them anew, and read the log of one",
    Command("fleet deployment restart {deployment} --wait", deadline=70),
    "fleet device logs {device} --deployment {deployment} --container prepare",
    look_at=("agent:device", "operator"),
)
def started_anew(run: Run, _restart: Result, log: Result) -> None:
    """Each is replaced by a new one, `prepare` first; they have the same volume."""
    assert log.stdout.strip() == "prepared", f"the log of prepare: {log.stdout}"
    containers, after = pod_containers(run), _lives(run)
    kept = {name for name, life in after.items() if life == run.kept(Lives).by_name[name]}
    assert not kept, f"what was not replaced: {sorted(kept)}"
    assert _time(containers["prepare"]["State"]["FinishedAt"]) <= _time(containers["db"]["State"]["StartedAt"])
    assert len({*map(frozenset, map(_volumes, containers.values()))}) == 1, "they have not the same volume"
    run.keep(Lives(after))


@stack.step(
    "Apply a Compose file of several services",
    refused(
        "fleet deployment apply --compose circle.yaml --name {deployment2} --selector site={site}",
        2,
        contains="services wait for each other",
    ),
    Command(
        "fleet deployment apply --compose compose.yaml --name {deployment2} --selector site={site} --wait", deadline=70
    ),
    "fleet device logs {device} --deployment {deployment2} --container web",
    "kubectl get fleetdeployment {deployment2} --namespace {namespace} --output yaml",
    files={
        "compose.yaml": STACK_IN_COMPOSE,
        "circle.yaml": STACK_IN_COMPOSE.replace("prepare:\n", "prepare:\n    depends_on: [web]\n"),
    },
    look_at=("agent:device", "operator"),
)
def composed(run: Run, _circle: Result, _applied: Result, log: Result, shown: Result) -> None:
    """What can never start is refused. The services of the other file run as one deployment: `web` after `prepare`.

    `web` alone has the Secret that the file names, and reads it in a file; the deployment does not show it. The first
    deployment is untouched.
    """
    digest = hashlib.md5(run.name("secret").encode(), usedforsecurity=False).hexdigest()
    assert digest in log.stdout, f"web reads another secret: {log.stdout}"
    assert run.name("secret") not in shown.stdout, "the deployment shows the secret"
    containers = pod_containers(run, "deployment2")
    states = {name: details["State"]["Status"] for name, details in containers.items()}
    assert states == {"prepare": "exited", "web": "running"}, f"the containers: {states}"
    ended, begun = containers["prepare"]["State"]["FinishedAt"], containers["web"]["State"]["StartedAt"]
    assert _time(ended) <= _time(begun), "web began before prepare had ended"
    mounts = {name: {mount["Destination"] for mount in details["Mounts"]} for name, details in containers.items()}
    assert mounts == {"prepare": {"/data"}, "web": {"/data", "/run/secrets/password"}}, f"the mounts: {mounts}"
    assert _volumes(containers["prepare"]) == _volumes(containers["web"]), "they have not the same volume"
    for name, life in _lives(run).items():
        assert life == run.kept(Lives).by_name[name], f"{name} of the first deployment was touched"


@stack.step(
    "Delete both",
    "fleet deployment delete {deployment}",
    "fleet deployment delete {deployment2}",
    "kubectl delete secret {deployment} --namespace {namespace}",
    look_at=("agent:device",),
)
def all_gone(run: Run, _first: Result, _second: Result, _secret: Result) -> None:
    """Within 20 s no container of them is left on the device."""
    wait_until(
        lambda: checks.containers(run).keys() & {run.name("deployment"), run.name("deployment2")},
        f"no container of them on {run.name('device')}",
        timeout=checks.ROLLOUT,
        until=lambda left: not left,
    )
