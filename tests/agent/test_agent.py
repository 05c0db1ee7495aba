"""The whole agent: what it makes of desired state, and what it leaves alone."""

from __future__ import annotations

import asyncio
import re
import urllib.request

import msgspec

from fleet.contract.buckets import (
    AGENT_TARGET,
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    KEY_ORDER,
    RELEASE_KEYS,
    TRUST_BUNDLE,
    TRUST_KEY,
)
from fleet.contract.containers import DEVICE_LABEL
from fleet.contract.logs import heard_subject
from fleet.contract.names import DeviceId
from fleet.contract.wire import Container, Health, Phase, Port, Reason, Restart
from harness.images import IMAGE, PAGE
from harness.processes.ports import free_port
from tests.agent.stage import STAYS, Stage
from tests.engine.lab import web
from tests.engine.test_images_ports import get


def test_a_deployment_runs_and_is_reported(stage: Stage) -> None:
    port = free_port()

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", web(port))
            state = await stage.until("web", Phase.RUNNING, Reason.STARTED)
            assert await asyncio.to_thread(get, port) == PAGE
            assert state.container_id == (await stage.containers())["web"].id
        assert (await stage.containers())["web"].state.status == "running"

    stage.play(body)


def test_the_device_tells_what_it_is_and_that_it_lives(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            info = await stage.eventually(stage.info, lambda info: bool(info and info.engine), "device information")
            assert info.engine.startswith("Engine double")
            assert info.memory > 0
            assert info.disk > 0
            assert info.boot_id
            first = await stage.eventually(stage.heartbeat, bool, "a heartbeat")
            assert (first.instance_id, first.boot_id, first.interval) == (info.instance_id, info.boot_id, 0.5)
            await stage.eventually(stage.heartbeat, lambda beat: beat.sequence > first.sequence, "the next heartbeat")

    stage.play(body)


def test_it_listens_where_no_reply_to_of_another_device_arrives(stage: Stage) -> None:
    """See docs/decisions/030. Its own replies arrive where nobody else can name."""

    def listened() -> set[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{stage.nats.monitor_port}/connz?subs=1&auth=1") as page:
            connections = msgspec.json.decode(page.read())["connections"]
        mine = [one for one in connections if one.get("authorized_user") == stage.device]
        return {subject for one in mine for subject in one.get("subscriptions_list", [])}

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            subjects = await asyncio.to_thread(listened)
            inboxes = {
                subject for subject in subjects if re.fullmatch(rf"_INBOX_{stage.device}\.\w{{22}}\.\*", subject)
            }
            assert len(inboxes) == 1
            assert subjects - inboxes == {
                DESIRED_INDEX.notify_subject(stage.device),
                DESIRED_STATE.notify_subject(f"{stage.device}.*"),
                AGENT_TARGET.notify_subject(stage.device),
                DEVICE_HEARTBEAT.notify_subject(stage.device),
                TRUST_BUNDLE.notify_subject(TRUST_KEY),
                KEY_ORDER.notify_subject(stage.device),
                RELEASE_KEYS.notify_subject(TRUST_KEY),
                heard_subject(DeviceId(stage.device)),
            }

    stage.play(body)


def test_an_update_replaces_the_container(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await stage.deploy("web", msgspec.structs.replace(STAYS, env={"COLOUR": "blue"}), generation=2)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=2)
            after = (await stage.containers())["web"]
            assert after.id != before.id

    stage.play(body)


def test_a_new_generation_of_the_same_workload_touches_nothing(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await stage.deploy("web", STAYS, generation=7)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=7)
            assert (await stage.containers())["web"] == before

    stage.play(body)


def test_what_is_withdrawn_is_removed_with_its_report(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.deploy("other", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            await stage.until("other", Phase.RUNNING, Reason.STARTED)
            await stage.withdraw("web")
            await stage.without_container("web")
            await stage.eventually(lambda: stage.state("web"), lambda state: state is None, "no report of web")
            await stage.until("other", Phase.RUNNING, Reason.STARTED)

    stage.play(body)


def test_a_restarted_agent_adopts_what_runs(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            first = await stage.eventually(stage.info, bool, "device information")
        async with stage.agent():
            await stage.eventually(stage.info, lambda info: info.instance_id != first.instance_id, "the new agent")
            await stage.deploy("second", STAYS)
            await stage.until("second", Phase.RUNNING, Reason.STARTED)
            assert (await stage.containers())["web"] == before

    stage.play(body)


def test_what_was_withdrawn_while_the_agent_was_down_goes_when_it_is_back(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
        await stage.withdraw("web")
        async with stage.agent():
            await stage.without_container("web")
            await stage.eventually(lambda: stage.state("web"), lambda state: state is None, "no report of web")

    stage.play(body)


def test_foreign_containers_are_left_alone(stage: Stage) -> None:
    def foreign(name: str, labels: dict[str, str]) -> str:
        body = {"Image": IMAGE, "Cmd": ["sleep", "1000000"], "Labels": labels}
        answer = stage.raw.call("POST", "/containers/create", params={"name": f"{stage.device}-{name}"}, json=body)
        stage.raw.call("POST", f"/containers/{answer.json()['Id']}/start")
        return answer.json()["Id"]

    plain = foreign("plain", {})
    others = foreign("other", {DEVICE_LABEL: "another-device", "io.fleet.deployment": "web"})
    bare = foreign("bare", {DEVICE_LABEL: stage.device})

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            await stage.withdraw("web")
            await stage.eventually(lambda: stage.state("web"), lambda state: state is None, "no report of web")

    try:
        stage.play(body)
        for container in (plain, others, bare):
            state = stage.raw.call("GET", f"/containers/{container}/json").json()["State"]
            assert state["Status"] == "running"
    finally:
        for container in (plain, others):
            stage.raw.call("DELETE", f"/containers/{container}", params={"force": "1"})


def test_what_somebody_stops_is_started_again(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            state = await stage.until("web", Phase.RUNNING, Reason.STARTED)
            await asyncio.to_thread(stage.raw.call, "POST", f"/containers/{state.container_id}/stop")

            async def container() -> object:
                return (await stage.containers())["web"].state.status

            await stage.eventually(container, lambda status: status == "running", "it runs again")
            assert (await stage.containers())["web"].id == state.container_id

    stage.play(body)


def test_what_somebody_removes_is_made_again(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            first = await stage.until("web", Phase.RUNNING, Reason.STARTED)
            await asyncio.to_thread(
                stage.raw.call, "DELETE", f"/containers/{first.container_id}", params={"force": "1"}
            )

            def again(state: object) -> bool:
                return getattr(state, "container_id", "") not in {"", first.container_id}

            await stage.eventually(lambda: stage.state("web"), again, "a new container")

    stage.play(body)


def test_a_job_that_ends_well_is_complete(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("job", Container(image=IMAGE, command=("true",), restart=Restart.NO))
            state = await stage.until("job", Phase.RUNNING, Reason.COMPLETED)
            assert state.message == "exit code 0"

    stage.play(body)


def test_a_job_that_fails_is_told_with_its_exit_code_and_not_begun_again(stage: Stage) -> None:
    """Also not by an agent that starts anew, nor because of another generation of the same job."""
    job = Container(image=IMAGE, command=("sh", "-c", "exit 3"), restart=Restart.NO)

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("job", job)
            state = await stage.until("job", Phase.FAILED, Reason.EXITED)
            assert state.message == "exit code 3"
            before = (await stage.containers())["job"]
        async with stage.agent():
            await stage.deploy("job", job, generation=2)
            await stage.until("job", Phase.FAILED, Reason.EXITED, generation=2)
            after = (await stage.containers())["job"]
            assert (after.id, after.state.started_at) == (before.id, before.state.started_at)

    stage.play(body)


def test_health_is_reported(stage: Stage) -> None:
    command = ("sh", "-c", "touch /tmp/well; sleep 1; rm /tmp/well; sleep 1000000")
    check = Health(("ls", "/tmp/well"), interval=0.2, timeout=20, retries=1)

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", Container(image=IMAGE, command=command, health=check))
            await stage.until("web", Phase.RUNNING, Reason.HEALTHY)
            state = await stage.until("web", Phase.UNHEALTHY, Reason.HEALTH_CHECK_FAILED)
            assert "No such file" in state.message

    stage.play(body)


def test_a_crash_loop_is_called_one(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", Container(image=IMAGE, command=("sh", "-c", "exit 3")))
            state = await stage.until("web", Phase.RESTARTING, Reason.CRASH_LOOP)
            assert state.restarts >= 3

    stage.play(body)


def test_a_taken_port_is_reported_and_taken_once_it_is_free(stage: Stage) -> None:
    port = free_port()

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("first", web(port))
            await stage.until("first", Phase.RUNNING, Reason.STARTED)
            await stage.deploy("second", web(port))
            state = await stage.until("second", Phase.FAILED, Reason.PORT_IN_USE)
            assert str(port) in state.message
            await stage.until("first", Phase.RUNNING, Reason.STARTED)
            await stage.withdraw("first")
            await stage.until("second", Phase.RUNNING, Reason.STARTED)

    stage.play(body)


def test_moving_to_another_port_cures_a_taken_one_at_once(stage: Stage) -> None:
    async def body() -> None:
        taken = free_port()
        async with stage.agent():
            await stage.deploy("first", web(taken))
            await stage.until("first", Phase.RUNNING, Reason.STARTED)
            await stage.deploy("second", web(taken))
            await stage.until("second", Phase.FAILED, Reason.PORT_IN_USE)
            moved = msgspec.structs.replace(web(taken), ports=(Port(free_port(), 80),))
            await stage.deploy("second", moved, generation=2)
            await stage.until("second", Phase.RUNNING, Reason.STARTED, generation=2)

    stage.play(body)


def test_a_missing_image_leaves_the_working_container(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = (await stage.containers())["web"]
            await stage.deploy("web", msgspec.structs.replace(STAYS, image="fleet-test/absent:9"), generation=2)
            state = await stage.until("web", Phase.FAILED, Reason.IMAGE_NOT_FOUND, generation=2)
            assert "fleet-test/absent:9" in state.message
            assert state.container_id == before.id
            assert (await stage.containers())["web"] == before

    stage.play(body)


def test_a_new_desired_state_cancels_a_pull_that_hangs(stage: Stage) -> None:
    async def body() -> None:
        stage.plant(method="POST", path="/images/create")
        async with stage.agent():
            await stage.deploy("web", msgspec.structs.replace(STAYS, image="fleet-test/absent:9"))
            await stage.until("web", Phase.PENDING, Reason.PULLING)
            await stage.deploy("web", STAYS, generation=2)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=2)

    stage.play(body)
