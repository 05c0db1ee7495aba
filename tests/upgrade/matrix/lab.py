"""One device of a real world whose agent is upgraded, and what must be true of it whatever happens."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fleet.agent.grant import ask
from fleet.agent.upgrade.protocol.journal import Journal, Release
from fleet.contract.buckets import AGENT_TARGET, DEVICE_HEARTBEAT, DEVICE_STATE, chunk_subject, manifest_subject
from fleet.contract.config import AgentConfig, UpgradeLimits, load_config, render_config
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES, Condition, Device
from fleet.contract.permissions import inbox_prefix
from fleet.contract.states import state_of
from fleet.contract.upgrade import Manifest, UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget, Heartbeat, Phase
from fleet.install.first_agent import BOOT_UNIT, LAUNCHER_PATH, TEMPLATE, TEMPLATE_PATH
from fleet.install.setup import UNIT_PATH
from fleet.launcher import launcher
from fleet.nats.bus import Login, connect
from harness.devices.process import ProcessDevice
from harness.engine.client import EngineClient
from harness.images import IMAGE
from harness.probes.engine import EngineProbe
from harness.processes.spec import ComponentStatus, statuses
from harness.scenario.command_line import Command
from harness.scenario.setup import is_online, names_for, type_one
from harness.wait import wait_until
from harness.world.world import World
from tests.upgrade.device import Device as Disk
from tests.upgrade.matrix.watch import Watch

LIMITS = UpgradeLimits(
    drain=20, heartbeat=45, stop=75, step_down=60, escalate=3, take=40, confirm=40, retry=0.3, lease=3, patience=1
)
"""Short enough for a test, long enough for a busy machine."""
OLD, NEW, NEWER = AgentVersion("v0.2.1"), AgentVersion("v0.2.2"), AgentVersion("v0.2.3")
"""Versions of the matrix' own: those of the scenarios are published in the same world, signed by another key."""
INTERVAL = 0.5
ENDED = 120.0
"""Seconds that an attempt may take here; most take three."""


class Lab:
    """One device. Its agents are real artefacts under a launcher; its workload must never be touched."""

    def __init__(self, world: World, folder: Path, name: str) -> None:
        self.world, self.folder = world, folder
        self.name = DeviceId(name)
        host = world.device(name)
        assert isinstance(host, ProcessDevice)
        self.host = host
        self.disk = Disk(host.root)
        self.watch = Watch(world, name)
        self.order_number = 0
        self.before: dict[str, Any] = {}

    # What an admin does.

    def set_up(self, committed: AgentVersion, shelf: Path, *present: AgentVersion, **limits: float) -> None:
        """Enroll it, with these versions laid down and one of them running, and a workload."""
        words = Command(
            f"fleet device enroll --device-id {self.name} --label lab={self.name} --heartbeat-interval {INTERVAL}"
            f" --admin-token-file {{admin_token_file}} --out {self.name}.json"
        )
        type_one(words, names_for(self.world, []), self.world.env, self.folder)
        config = load_config(self.folder / f"{self.name}.json", AgentConfig)
        tuned = msgspec.structs.replace(config, upgrade=msgspec.structs.replace(LIMITS, **limits), resync_interval=5)
        for version in (committed, *present):
            shutil.copytree(shelf / version, self.disk.store.home(version), symlinks=True)
        marker = self.disk.store.marker(committed)
        assert marker is not None
        self.disk.remembers(Journal(Release(committed, marker.digest)))
        self.host.write("/etc/fleet/agent.json", render_config(tuned))
        install_units(self.host)
        assert self.host.run(["systemctl", "enable", "--now", "fleet-agent.service"]).code == 0
        self.deploy("steady")
        self.watch.start()
        self.await_running("steady")
        self.remember()

    def deploy(self, name: str, **workload: Any) -> None:  # noqa: ANN401
        spec = {"workload": {"type": "container", "image": IMAGE, "command": ["sleep", "1000000"], **workload}}
        body = {
            "apiVersion": API_VERSION,
            "kind": "FleetDeployment",
            "metadata": {"name": f"{self.name}-{name}", "namespace": self.world.namespace},
            "spec": {**spec, "selector": {"matchLabels": {"lab": str(self.name)}}},
        }
        self.world.kube.create(self.world.kube.path(DEPLOYMENTS), body)

    def redeploy(self, name: str, **workload: Any) -> None:  # noqa: ANN401
        self.world.kube.patch(
            self.world.kube.path(DEPLOYMENTS, f"{self.name}-{name}"), {"spec": {"workload": workload}}
        )

    def order(self, version: str, kept: int | None = None) -> None:
        """As `fleet device upgrade --to [--keep]`, without the time that the command takes to start."""
        self.order_number += 1
        spec = {"agentVersion": str(version), "agentOrder": self.order_number, "agentVersionsKept": kept}
        patch = {"spec": spec}
        self.world.kube.patch(self.world.kube.path(DEVICES, self.name), patch)

    # What one sees.

    @property
    def object(self) -> Device:
        found = self.world.kube.device(self.name)
        assert found is not None, f"there is no Device {self.name}"
        return found

    @property
    def status(self) -> UpgradeStatus | None:
        info = self.object.status.info
        return info.upgrade if info else None

    @property
    def target(self) -> AgentTarget | None:
        return self.world.nats.get(AGENT_TARGET, self.name)

    def condition(self) -> Condition | None:
        return next((one for one in self.object.status.conditions if one.type == "Upgraded"), None)

    def ends(self, phase: UpgradePhase, reason: UpgradeReason, *, within: float = ENDED) -> UpgradeStatus:
        """Wait until the order that was given last has ended, as it should."""

        def ended() -> tuple[int, UpgradeStatus | None]:
            item, target = self.object, self.target
            known = item.status.info.upgrade if item.status.info else None
            said = self.condition()
            current = known is not None and target is not None and target.order == self.order_number
            current = current and known is not None and target is not None and known.generation == target.generation
            shown = said is not None and known is not None and said.reason == known.reason.value
            return self.order_number, known if current and shown and known and known.phase.terminal else None

        def wrong(seen: tuple[int, UpgradeStatus | None]) -> str | None:
            known = seen[1]
            good = known is None or (known.phase, known.reason) == (phase, reason)
            return None if good else f"it ended as {known}"

        wanted = f"{self.name}: {phase.value}, {reason.value}"
        good = wait_until(ended, wanted, timeout=within, until=lambda it: it[1] and not wrong(it), error=wrong)[1]
        assert good is not None
        return good

    def reports(self, *phases: UpgradePhase, within: float = ENDED) -> None:
        """Wait until the device has reported one of these phases of the present attempt, by its own words."""
        wait_until(
            lambda: [info.upgrade.phase for info in self.watch.infos if info.upgrade],
            f"{self.name} reports {' or '.join(one.value for one in phases)}",
            timeout=within,
            until=lambda seen: any(one in phases for one in seen),
            interval=0.01,
        )

    def ended(self, *, within: float = ENDED) -> UpgradeStatus:
        """Wait until the order that was given last has ended, however."""

        def terminal() -> UpgradeStatus | None:
            told = self.watch.infos[-1].upgrade if self.watch.infos else None
            if told is None or not told.phase.terminal:
                return None  # nobody need be asked
            known, target = self.status, self.target
            if known is None or target is None or target.order != self.order_number:
                return None
            return known if known.generation == target.generation and known.phase.terminal else None

        found = wait_until(terminal, f"the order for {self.name} has ended", timeout=within)
        assert found is not None
        return found

    def ends_badly(self, *, within: float = ENDED) -> None:
        """Wait until the order that was given last has been reverted, for whatever reason."""
        wait_until(
            lambda: self.status,
            f"{self.name}: Reverted",
            timeout=within,
            until=lambda known: known is not None and known.phase is UpgradePhase.REVERTED,
        )

    def phase(self, phase: str, version: str = OLD) -> None:
        """Wait until an agent has come into a phase of its machine, by its log: that is sooner than any report."""
        self.logged(version, f'"phase": "{phase}"')

    def wait_for_tested(self) -> None:
        """Wait until the candidate has passed its examination."""
        self.phase("waiting")

    def logged(self, version: str, words: str, times: int = 1) -> None:
        """Wait until an agent has said something, so many times."""
        wait_until(
            lambda: self.log(version).count(words),
            f"{version} on {self.name} says {words} {times} times",
            timeout=ENDED,
            until=lambda count: count >= times,
            interval=0.005,
        )

    def candidate_heard(self) -> Heartbeat:
        """Wait until the candidate says that it lives; what it says."""

        def heard() -> Heartbeat | None:
            target = self.target
            found = [one.beat for one in self.watch.beats if target and one.beat.generation == target.generation]
            return found[-1] if found else None

        beat = wait_until(heard, f"the candidate of {self.name} is heard", timeout=ENDED)
        assert beat is not None
        return beat

    def beat_as_candidate(self, version: AgentVersion, boot: str = "") -> None:
        """A heartbeat in the candidate's name."""
        target, last = self.target, self.watch.beats[-1].beat
        assert target is not None
        beat = Heartbeat(version, "somebody", boot or last.boot_id, 1, INTERVAL, generation=target.generation)
        config = load_config(self.host.root / "etc/fleet/agent.json", AgentConfig)

        async def go() -> None:
            """By the device's own login: nobody else's heartbeats reach its agents."""
            token = await ask(config.auth)
            inbox = inbox_prefix(self.name)
            login = Login(config.nats_url, self.name, config.auth.ca, token=lambda: token.text, inbox=inbox)
            bus = await connect(login, notice=lambda _: None)
            await bus.kv(DEVICE_HEARTBEAT).put(self.name, beat)
            await bus.close()

        asyncio.run(go())

    def starts(self, version: str) -> int:
        """How often its process was started."""
        return self.components()[version].starts

    def kill_container(self, name: str) -> None:
        """What a bug in a workload does."""
        identity = self.containers()[f"{self.name}-{name}"][0]
        client = EngineClient(self.host.engine_socket)
        client.call("POST", f"/containers/{identity}/kill")
        client.close()

    def rotate(self) -> None:
        """Enroll it anew, and put the new key where an agent finds it at its next start."""
        words = Command(
            f"fleet device enroll --device-id {self.name} --label lab={self.name} --heartbeat-interval {INTERVAL}"
            f" --replace --admin-token-file {{admin_token_file}} --out {self.name}.json"
        )
        type_one(words, names_for(self.world, []), self.world.env, self.folder)
        new = load_config(self.folder / f"{self.name}.json", AgentConfig)
        path = self.host.root / "etc/fleet/agent.json"
        tuned = msgspec.structs.replace(load_config(path, AgentConfig), auth=new.auth)
        self.host.write("/etc/fleet/agent.json", render_config(tuned))

    def publish_manifest(self, version: str, signed: bytes) -> None:
        """Put a manifest where devices and the operator look, whatever it says."""
        self._blob(manifest_subject(version), signed)

    def publish_pieces(self, manifest: Manifest, pieces: Sequence[bytes]) -> None:
        """Put pieces of an artefact where devices look, whatever they hold."""
        for number, piece in enumerate(pieces):
            self._blob(chunk_subject(manifest.digest, number), piece)

    def _blob(self, subject: str, data: bytes) -> None:
        async def go() -> None:
            login = self.world.nats_login()
            door = Login(login.url, "publisher", login.ca, user=login.user, password=login.password)
            bus = await connect(door, notice=lambda _: None)
            await bus.blobs().put(subject, data)
            await bus.close()

        asyncio.run(go())

    def runs(self, version: str, *, within: float = ENDED) -> None:
        """Wait until this version alone runs."""
        wait_until(self.units, f"{version} alone runs on {self.name}", timeout=within, until=[version].__eq__)

    def units(self) -> list[str]:
        """The versions whose processes run now."""
        return sorted(version for version, component in self.components().items() if component.pid is not None)

    def components(self) -> Mapping[str, ComponentStatus]:
        ours = f"-{self.name}"
        return {
            name.removeprefix("agent@").removesuffix(ours): status
            for name, status in statuses(self.world.root).items()
            if name.startswith("agent@") and name.endswith(ours)
        }

    def signal(self, version: str, number: signal.Signals) -> None:
        """What an out-of-memory killer or a stalled disk does."""
        words = ["systemctl", "kill", f"--signal={number.name}", f"fleet-agent@{version}.service"]
        assert self.host.run(words).code == 0

    def pid(self, version: str) -> int:
        component = self.components().get(version)
        return (component.pid if component else None) or 0

    def journal(self) -> Journal:
        found = self.disk.disk.read_journal()
        assert isinstance(found, Journal), found
        return found

    def log(self, version: str) -> str:
        path = self.world.root / "logs" / f"agent@{version}-{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def await_running(self, name: str, within: float = 30) -> None:
        wait_until(
            lambda: self._deployment(name),
            f"{name} runs on {self.name}",
            timeout=within,
            until=lambda ready: ready == (1, 1),
        )

    def await_failure(self, name: str) -> None:
        """Wait until a workload is seen to fail, and for longer than the agent's patience."""
        deployment = f"{self.name}-{name}"
        ill = {Phase.FAILED, Phase.UNHEALTHY, Phase.RESTARTING}
        wait_until(
            lambda: state_of(self.world.nats.get(DEVICE_STATE, self.name), deployment),
            f"{name} fails on {self.name}",
            timeout=30,
            until=lambda state: state is not None and state.phase in ill,
            interval=0.2,
            successes=10,
        )

    def await_online(self) -> None:
        """Wait until the operator hears it again."""
        wait_until(lambda: self.object, f"{self.name} is online", timeout=60, until=is_online)

    def says(self, reason: str, *, within: float = ENDED) -> None:
        """Wait until `kubectl get device` shows this reason."""

        def shown() -> str:
            found = self.condition()
            return found.reason if found else ""

        wait_until(shown, f"{self.name} is Upgraded={reason}", timeout=within, until=reason.__eq__)

    def _deployment(self, name: str) -> tuple[int, int]:
        found = self.world.kube.deployment(f"{self.name}-{name}")
        return (found.status.matched, found.status.ready) if found else (0, 0)

    # The oracles.

    def containers(self) -> dict[str, tuple[str, str, int]]:
        """Each container's id, start time and restarts, by deployment."""
        client, probe = EngineClient(self.host.engine_socket), EngineProbe(self.host.engine_socket)
        try:
            found: dict[str, tuple[str, str, int]] = {}
            for one in probe.containers(self.name):
                told = client.call("GET", f"/containers/{one['Id']}/json").json()
                labels = told["Config"]["Labels"]
                facts = (told["Id"], told["State"]["StartedAt"], told.get("RestartCount", 0))
                found[labels["io.fleet.deployment"]] = facts
            return found
        finally:
            client.close()
            probe.close()

    def remember(self) -> None:
        """From now on nothing may touch what runs."""
        self.before = self.containers()

    def judge(self, *, silence: float | None = INTERVAL + 1, workloads: bool = True) -> None:
        """The global oracles, at the end of a row: see the reference's (a) to (f).

        Args:
            silence: Seconds without a heartbeat that are allowed; None where the row itself silenced the device.
            workloads: Whether the containers must be the same as before.
        """
        journal, status = self.journal(), self.status
        running = self.units()
        assert running, "(a) no agent runs"
        if silence is not None:
            assert self.watch.longest_silence <= silence + _LOAD, (
                f"(a) nobody was heard for {self.watch.longest_silence}"
            )
        writers = self.watch.writers
        assert len(writers) == len(set(writers)), f"(b) two writers in turn: {writers}"
        if workloads:
            after = {name: facts for name, facts in self.containers().items() if name in self.before}
            assert after == self.before, "(c) a workload was touched"
        for release in (journal.committed, journal.previous):
            flaw = self.disk.store.flaw(release) if release else ""
            assert not flaw, f"(d) {release}: {flaw}"
        assert str(journal.committed.version) in running, f"(d) {journal.committed.version} is committed, {running} run"
        assert self.disk.linked == journal.committed.version, "(d) the link is not at what is committed"
        if self.order_number:
            assert status is not None, "(e) no status"
            assert status.phase.terminal, f"(e) {status}"

    def close(self) -> None:
        self.watch.stop()
        self.host.power_off()
        probe = EngineProbe(self.host.engine_socket)
        probe.remove(self.name)
        probe.close()
        kube = self.world.kube
        for item in kube.deployments():
            if item.metadata.name.startswith(f"{self.name}-"):
                kube.delete(kube.path(DEPLOYMENTS, item.metadata.name))
        kube.delete(kube.path(DEVICES, self.name))


_LOAD = float(os.environ.get("FLEET_TEST_SLACK", "1.0"))
"""Seconds that a busy machine may add to a heartbeat."""


def install_units(host: ProcessDevice) -> None:
    """Launcher and units, as `fleet device setup --agent` puts them."""
    host.write(LAUNCHER_PATH, Path(launcher.__file__).read_bytes(), mode=0o755)
    host.write(UNIT_PATH, BOOT_UNIT.encode(), mode=0o644)
    host.write(TEMPLATE_PATH, TEMPLATE.encode(), mode=0o644)
