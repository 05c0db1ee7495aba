"""The pytest plugin that plants a fault of the world: `-p harness.faults.plugin --fleet-fault NAME`."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from harness.faults.worlds import Moment, WorldFault, world_fault
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.world.world import World


def pytest_addoption(parser: pytest.Parser) -> None:
    """The fault's name."""
    parser.getgroup("fleet").addoption(
        "--fleet-fault", metavar="NAME", required=True, help="which fault of the world to plant (harness.faults --list)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Plant what must be there before a world is, and watch for the moment otherwise."""
    planter = Planter(world_fault(str(config.getoption("fleet_fault"))))
    planter.reached("before", None)
    config.pluginmanager.register(planter)


class Planter:
    """Plants its fault once, at its moment."""

    def __init__(self, fault: WorldFault) -> None:
        """Nothing is planted yet."""
        self._fault = fault
        self._planted = False
        self.world: World | None = None

    def reached(self, moment: Moment, world: World | None) -> None:
        """A moment has come."""
        if moment == "before":
            self._fault.prepare()
        if moment == self._fault.moment and not self._planted:
            self._planted = True
            self._fault.plant(world)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        """The world runs."""
        value = yield
        if fixturedef.argname == "world" and isinstance(value, World):
            self.world = value
            self.reached("booted", value)
        return value

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, None, None]:
        """The test types its commands through `Run.type`."""
        planter, typed = self, Run.type

        def type_(self: Run, command: Command) -> Result:
            planter.reached("step", planter.world)
            return typed(self, command)

        Run.type = type_
        try:
            yield
        finally:
            Run.type = typed
