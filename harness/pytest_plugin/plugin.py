"""The pytest plugin: options, markers, the run's life. Fixtures are in `harness.pytest_plugin.fixtures`.

It loads in every pytest run, so it imports nothing heavy; what needs a world imports it then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from harness.errors import HarnessError, Misused, TargetUnavailable
from harness.processes.search_path import search_path
from harness.pytest_plugin import options, sigterm
from harness.pytest_plugin.resume import Resume

if TYPE_CHECKING:
    from harness.world.keep import Keep
    from harness.world.world import World

MARKERS = {
    "embedded": "runs in a world of local processes, the default target",
    "node": "runs in a Kubernetes of our own, with the product as pods",
    "node3": "needs three machines: --fleet-target node:3; never without being asked for",
    "k3d": "runs in a k3d cluster with the product as pods",
    "staging": "runs against the cluster that a description names; never without being asked for",
    "production_smoke": "only looks, so it may run against production; -m production_smoke asks for that",
    "matrix": "does a fault to an upgrade, five minutes for all of them with -n 2; never without being asked for",
    "siege": "plays one attack of a hostile device alone, twenty minutes for all; never without being asked for",
    "libvirt": "needs a device that is a libvirt virtual machine",
    "pi": "needs a device that is a board reached over SSH",
}
"""What this harness adds to a test's vocabulary. A test without a target's marker runs on every target."""

_TARGETS = ("embedded", "node", "k3d", "staging")
_SMOKE = "production_smoke"
_DEVICES = ("libvirt", "pi")
_ASKED_FOR = (*_DEVICES, "node3", "matrix", "siege")

WORLD: pytest.StashKey[World] = pytest.StashKey()
"""The world of this worker, once a test wanted one."""
HANDED = pytest.StashKey[str]()
"""On the controller: what its workers get, as JSON."""
CLEANUP = pytest.StashKey[contextlib.ExitStack]()
KEPT = pytest.StashKey[list[str]]()
"""How to enter the worlds that outlive the run."""
RUN_ID = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options under one prefix; an option wins over its environment variable, and that over the default."""
    options.add(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Hooks for replacement: another kind of world, for example in the harness' own tests."""
    from harness.pytest_plugin import hooks  # noqa: PLC0415

    pluginmanager.add_hookspecs(hooks)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers and fixtures; a worker dies with its controller, however that ends."""
    for name, sentence in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {sentence}")
    config.pluginmanager.import_plugin("harness.pytest_plugin.fixtures.world")
    config.pluginmanager.import_plugin("harness.pytest_plugin.refusal")
    config.pluginmanager.import_plugin("harness.pytest_plugin.fixtures.scenario")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each look of a probe would bury the steps
    config.stash[KEPT] = []
    config.stash[sigterm.WORKERS] = []
    os.environ["PATH"] = search_path()  # iptables and others are in the folders of administrators
    given = worker_input(config)
    sigterm.end_in_order(config)
    config.stash[RUN_ID] = given.get("testrunuid") or uuid.uuid4().hex
    resume: Path | None = config.getoption("fleet_resume")
    if resume is not None:
        config.pluginmanager.register(Resume(resume), "fleet-resume")
    if given:
        from harness.processes.spawn import die_with  # noqa: PLC0415

        die_with(os.getppid())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of other targets, and tests that need a device that was not requested.

    A test without a target's marker gets that of the chosen one, so that `-m staging` finds it too.
    """
    target = chosen_target(config).partition(":")[0]
    named = _named_in_expression(config)
    chosen = [item for item in items if _belongs(item, target, named)]
    for item in chosen:
        if target in _TARGETS and "world" in getattr(item, "fixturenames", ()):
            item.add_marker(target)
    if len(chosen) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """On the xdist controller, before any worker starts: make once what all their worlds share."""
    config = session.config
    if worker_input(config) or config.getoption("dist", "no") == "no" or not _wants_worlds(config):
        return
    from harness.targets.setup import shared_resources  # noqa: PLC0415
    from harness.world.shared_resources import Handed, Missing, to_json  # noqa: PLC0415

    cleanup = config.stash[CLEANUP] = contextlib.ExitStack()
    try:
        handed = Handed(
            shared=cleanup.enter_context(shared_resources(say_on_terminal, chosen_target(config), keep=keep(session)))
        )
    except HarnessError as error:
        handed = Handed(missing=Missing(error.what, error.next_step))
    config.stash[HANDED] = to_json(handed)


class Node(Protocol):
    """What we use of xdist's `WorkerController`."""

    config: pytest.Config
    gateway: Any
    workerinput: dict[str, Any]
    workeroutput: dict[str, Any]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Node) -> None:
    """Hand what the controller made to a worker that is about to start, and note its process id."""
    node.config.stash[sigterm.WORKERS].append(
        node.gateway.remote_exec("import os; channel.send(os.getpid())").receive()
    )
    node.workerinput["fleet"] = node.config.stash.get(HANDED, "")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Node) -> None:
    """Take over what a worker has to say at the end."""
    node.config.stash[KEPT] += getattr(node, "workeroutput", {}).get("fleet_kept", [])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what the controller made; hand over what a worker has to say."""
    session.config.stash.get(CLEANUP, contextlib.ExitStack()).close()
    if worker_input(session.config):
        output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
        output["fleet_kept"] = session.config.stash[KEPT]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how to enter the worlds that live on."""
    for text in config.stash[KEPT]:
        terminalreporter.section("world kept")
        terminalreporter.write_line(text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Judge a failed set-up: product or world."""
    with _judged(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Judge a failed test: product or world."""
    with _judged(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the world lacks as its sentences, without a traceback; end the run when the target is not there."""
    report = yield
    if report.when == "setup" and call.excinfo is not None:
        error = call.excinfo.value
        if isinstance(error, HarnessError) and not isinstance(error, Misused):
            report.longrepr = f"{type(error).__name__}: {error}"
        if isinstance(error, TargetUnavailable) and WORLD not in item.config.stash and _target_was_named(item.config):
            item.session.shouldfail = str(error)
    return report


@contextlib.contextmanager
def _judged(item: pytest.Item) -> Generator[None]:
    try:
        yield
    except Exception as error:
        world = item.config.stash.get(WORLD, None)
        if world is None or "world" not in getattr(item, "fixturenames", ()):
            raise
        verdict = world.judge(error)
        if verdict is error:
            raise
        raise verdict from error


def need_devices(item: pytest.Item, kinds: frozenset[str]) -> None:
    """A test marked with a kind of device runs on that kind only.

    Raises:
        TargetUnavailable: the world has none of that kind.
    """
    for kind in _DEVICES:
        if item.get_closest_marker(kind) and kind not in kinds:
            raise TargetUnavailable(
                f"the test needs a {kind} device, and this world has: {', '.join(sorted(kinds)) or 'none'}",
                next_step="describe one for --fleet-lab FILE, or in the `lab` of --fleet-target staging:FILE",
            )


def worker_input(config: pytest.Config) -> dict[str, Any]:
    """What the xdist controller gave to this worker; empty on the controller and without xdist."""
    return getattr(config, "workerinput", {})


def worker_name(config: pytest.Config) -> str:
    """The xdist worker, such as `gw0`; `main` without one."""
    return worker_input(config).get("workerid", "main")


def chosen_target(config: pytest.Config) -> str:
    """The option, else FLEET_TARGET, else a target that `-m` names, else embedded."""
    given = config.getoption("fleet_target") or os.environ.get("FLEET_TARGET")
    if given:
        return given
    words = _named_in_expression(config)
    if _SMOKE in words:
        return "production"
    named = [target for target in _TARGETS if target in words]
    return named[0] if len(named) == 1 else "embedded"


def _target_was_named(config: pytest.Config) -> bool:
    """Whether the run is about one target; without it, tests that need no world go on."""
    return chosen_target(config) != "embedded"


def keep(session: pytest.Session) -> Keep:
    """What `--fleet-keep` says of worlds that this process makes."""
    from harness.world.keep import ALWAYS, NEVER, Keep  # noqa: PLC0415

    when = session.config.getoption("fleet_keep")
    if when == "failed":
        return Keep(may=True, now=lambda: session.testsfailed > 0)
    return ALWAYS if when == "always" else NEVER


def wanted_devices(config: pytest.Config) -> frozenset[str]:
    """The kinds of device that `-m` names."""
    return frozenset(_DEVICES) & _named_in_expression(config)


def say_on_terminal(line: str) -> None:
    """Progress that a person sees while pytest captures output."""
    print(line, file=sys.__stderr__, flush=True)


def _named_in_expression(config: pytest.Config) -> set[str]:
    words = str(config.getoption("markexpr", "")).replace("(", " ").replace(")", " ").split()
    return {word for before, word in zip(["", *words], words, strict=False) if before != "not"}


def _belongs(item: pytest.Item, target: str, wanted: set[str]) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    if target == "production":
        return _SMOKE in marks
    targets, asked_for = marks & set(_TARGETS), marks & set(_ASKED_FOR)
    return (not targets or target in targets) and asked_for <= wanted


def _wants_worlds(config: pytest.Config) -> bool:
    """Whether the run may hold a test that wants a world: a target was named, or `e2e` is among what is collected.

    A worker that turns out to want one all the same makes what it needs itself.
    """
    if config.getoption("fleet_target"):
        return True
    folders = [Path(str(argument).partition("::")[0]).absolute() for argument in config.args]
    e2e = config.rootpath / "e2e"
    return e2e.is_dir() and any(folder == e2e or folder in e2e.parents or e2e in folder.parents for folder in folders)
