"""A world: one place where the product is installed and run, the same to a scenario wherever it is."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path

from fleet.contract.buckets import APP_USER, CONTROL_USER, SYSTEM_USER
from fleet.contract.versions import user_of
from harness.devices import Device
from harness.errors import HarnessError, Misused, TargetUnavailable, WorldBroken
from harness.images.private_registry import Place
from harness.probes.kube import KubeProbe
from harness.probes.nats import NatsLogin, NatsProbe
from harness.processes.rwlock import RwLock
from harness.processes.spec import ComponentStatus, Event
from harness.world import folders
from harness.world.keep import NEVER, Keep
from harness.world.protocols import Components, Identity, Machines

_LONGEST_NAME = 63


class World:
    """What a scenario may know and do. Every call is synchronous, and ends by a deadline.

    Attributes:
        root: The world's folder: `logs/<component>.log`, `devices/<id>/`, and what the target keeps there.
        run_id: Names this run among others on the same cluster.
        worker: Names the xdist worker; `main` without one.
        target: The kind of place, such as `embedded`.
        env: What an operator's shell has: PATH, KUBECONFIG, FLEET_NAMESPACE and the like.
        namespace: Where the fleet server is, or will be, installed.
        identity: The identity provider.
        engine: What runs the workloads, in words for the report.
        image_registry: Where a private registry listens that its engine trusts.
        device_kinds: Which kinds of device it has.
        visited: Whether others use it too: what a scenario made must go, from the identity provider as well.
        how_to_enter: What to type to look round once it was kept.
        keep: Whether it is.
        kept: How to enter each machine that was kept as its failed test left it.
        broken: Why it refuses further tests; empty while it does not.
    """

    def __init__(  # noqa: PLR0913 - each is a fact about the place, and named
        self,
        *,
        root: Path,
        run_id: str,
        worker: str,
        target: str,
        env: Mapping[str, str],
        namespace: str,
        identity: Identity,
        components: Components,
        engine: str,
        make_device: Callable[[str], Device],
        secret: Callable[[str], str],
        device_kinds: frozenset[str] = frozenset({"process"}),
        turns: RwLock | None = None,
        visited: bool = False,
        machines: Machines | None = None,
        image_registry: Place | None = None,
        how_to_enter: str = "",
        keep: Keep = NEVER,
    ) -> None:
        """Put together by a target."""
        self.root = root
        self.run_id = run_id
        self.worker = worker
        self.target = target
        self.env = dict(env)
        self.namespace = namespace
        self.identity = identity
        self.engine = engine
        self.device_kinds = device_kinds
        self.visited = visited
        self.image_registry = image_registry or Place()
        self._machines = machines
        self._turns = turns
        self.how_to_enter = how_to_enter
        self.keep = keep
        self.kept: list[str] = []
        self.broken = ""
        self._probes = contextlib.ExitStack()
        self._components = components
        self._make_device = make_device
        self._secret = secret
        self._devices: dict[str, Device] = {}
        self._numbers = itertools.count(1)
        self._test = ""
        self._since = time.monotonic()

    @property
    def issuer(self) -> str:
        """The identity provider's URL."""
        return self.identity.issuer

    @property
    def issuer_ca(self) -> Path:
        """The PEM file that its certificate is checked against."""
        return self.identity.ca

    @property
    def admin_token_file(self) -> Path:
        """An administrator's personal access token."""
        return self.identity.admin_token_file

    @cached_property
    def kube(self) -> KubeProbe:
        """Typed looks at Kubernetes."""
        return self._probes.enter_context(contextlib.closing(KubeProbe(Path(self.env["KUBECONFIG"]), self.namespace)))

    @cached_property
    def nats(self) -> NatsProbe:
        """Typed looks at NATS, once a server is installed."""
        return self._probes.enter_context(contextlib.closing(NatsProbe(self.nats_login)))

    @cached_property
    def registry(self) -> NatsProbe:
        """Typed looks at the identity registry, which no device can reach, once a server is installed."""
        login = partial(self._nats_as, CONTROL_USER, "nats_control_pass")
        return self._probes.enter_context(contextlib.closing(NatsProbe(login)))

    @cached_property
    def sessions(self) -> NatsProbe:
        """Looks at who is connected to NATS, once a server is installed."""
        login = partial(self._nats_as, SYSTEM_USER, "nats_system_pass")
        return self._probes.enter_context(contextlib.closing(NatsProbe(login)))

    def approve(self, user_code: str) -> None:
        """Sign in and allow a device code; safe to call from any thread."""
        self.identity.approve(user_code)

    def unique(self, name: str) -> str:
        """A name that no other test, worker or run uses: an RFC 1123 label.

        Raises:
            Misused: `name` is so long that nothing can be added.
        """
        made = f"{name}-{self.run_id[:4]}{self.worker.removeprefix('gw')[:4]}-{next(self._numbers)}".lower()
        if len(made) > _LONGEST_NAME:
            raise Misused(f"{name!r} is too long to be made unique", next_step=f"use {len(name) - 20} characters")
        return made

    def device(self, name: str) -> Device:
        """The machine of that name; the first call makes it, nothing runs on it yet."""
        if name not in self._devices:
            self._devices[name] = self._make_device(name)
        return self._devices[name]

    def devices(self) -> Mapping[str, Device]:
        """Every machine made so far."""
        return dict(self._devices)

    def components(self) -> Mapping[str, ComponentStatus]:
        """The servers of this world."""
        return self._components.statuses()

    def kill(self, component: str) -> None:
        """SIGKILL a component, because the scenario asks for it."""
        self._components.kill(component)

    def stop(self, component: str) -> None:
        """End a component; it stays down until `start`."""
        self._components.stop(component)

    def start(self, component: str) -> None:
        """Start a stopped component; returns once it answers."""
        self._components.start(component)

    def pause(self, component: str) -> None:
        """Freeze a component."""
        self._components.pause(component)

    def resume(self, component: str) -> None:
        """Let a frozen component go on."""
        self._components.resume(component)

    def fetch(self, component: str, path: str) -> list[str]:
        """What each process of a component answers over HTTP.

        Raises:
            Unanswered: it does not.
            TargetUnavailable: this target has no way to ask.
        """
        return self._components.fetch(component, path)

    @property
    def machines(self) -> Machines:
        """The machines under its Kubernetes.

        Raises:
            TargetUnavailable: they are not in our hands.
        """
        if self._machines is None:
            raise TargetUnavailable(f"{self.target} has no machines of ours", next_step="use --fleet-target node:3")
        return self._machines

    def note(self, what: str, component: str = "") -> None:
        """Add something that the scenario did to the history."""
        self._components.record(what, component)

    @property
    def history(self) -> list[Event]:
        """What happened since the test began: starts, ends (asked or not), notes; on both clocks."""
        return self._components.history(self._since)

    def begin(self, test: str) -> None:
        """A test begins: what happened before is not its failure.

        Raises:
            WorldBroken: an earlier test left the world unfit.
        """
        if self.broken:
            raise WorldBroken(
                f"this world is not used any more: {self.broken}",
                next_step=f"read the first failure; logs: {folders.logs_to_read(self.root)}",
            )
        self._test, self._since = test, time.monotonic()

    def take_turn(self, *, alone: bool = False) -> None:
        """As `RwLock.acquire`, where this world shares servers with those of other workers; for each step anew."""
        if self._turns is not None:
            self._turns.acquire(alone=alone)

    def end_turn(self) -> None:
        """As `RwLock.release`."""
        if self._turns is not None:
            self._turns.release()

    def problems(self) -> list[str]:
        """What is broken in the world itself, now or unasked since the test began; empty when it is sound."""
        return self._components.problems(self._since)

    def product_deaths(self) -> list[str]:
        """Components of the product that ended unasked since the test began: the product's failure."""
        return self._components.product_deaths(self._since)

    def judge(self, error: Exception) -> Exception:
        """Whose failure `error` is: itself, or a `WorldBroken` when the world turns out to be broken.

        From then on the world refuses further tests.
        """
        if isinstance(error, Misused):
            return error
        if isinstance(error, HarnessError):
            self.broken = self.broken or f"{self._test or 'its start'}: {error.what}"
            return error
        problems = self.problems()
        if not problems:
            for death in self.product_deaths():
                error.add_note(death)
            return error
        listed = "\n".join(f"  - {problem}" for problem in problems)
        self.broken = self.broken or f"{self._test}:\n{listed}"
        return WorldBroken(
            f"the world is broken, so this says nothing about the product:\n{listed}\n  the test said: {error}",
            next_step=f"mend the world and run again; its logs are in {folders.logs_to_read(self.root)}",
        )

    def close(self) -> None:
        """End the probes; the target ends the rest."""
        self._probes.close()

    def nats_login(self) -> NatsLogin:
        """How the operator's account in NATS is reached.

        Raises:
            Misused: there is no server.
        """
        return self._nats_as(APP_USER, "nats_app_pass")

    def _nats_as(self, user: str, secret: str) -> NatsLogin:
        server = self.kube.server()
        if server is None:
            raise Misused(f"no fleet server is installed in {self.namespace}", next_step="install one before looking")
        password = self._secret(secret)
        return NatsLogin(server.nats_url, server.ca, user_of(user, password), password)
