"""Templates become arguments without a shell, and a scenario is refused when it is not a page of the runbook."""

from __future__ import annotations

import pytest

from harness.errors import Misused
from harness.scenario.command import Result
from harness.scenario.command_line import Command, killed, on_device, refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario


def scenario() -> Scenario:
    return Scenario(id="demo", title="Demonstrate", chapter="Demo", why="To see.")


def seen(_run: Run) -> None:
    """It works."""


def test_a_value_with_spaces_stays_one_argument() -> None:
    command = Command("fleet device enroll --device-id {device}")
    assert command.argv({"device": "a b; rm -rf /"}) == ["fleet", "device", "enroll", "--device-id", "a b; rm -rf /"]


def test_a_tuple_becomes_several_arguments_only_when_it_stands_alone() -> None:
    assert Command("setup {reach}").argv({"reach": ("--root", "/x")}) == ["setup", "--root", "/x"]
    with pytest.raises(Misused, match="several arguments"):
        Command("setup --to={reach}").argv({"reach": ("--root", "/x")})


def test_quotes_group_words_and_json_paths_are_left_alone() -> None:
    command = Command("kubectl get fdev {device} -o 'jsonpath={.status.conditions[0].type} x'")
    assert command.argv({"device": "pi-1"})[3:] == ["pi-1", "-o", "jsonpath={.status.conditions[0].type} x"]


def test_the_text_can_be_pasted_into_a_shell() -> None:
    assert Command("fleet device show {device}").text({"device": "a b"}) == "fleet device show 'a b'"


def test_an_unknown_placeholder_names_the_known_ones() -> None:
    with pytest.raises(Misused, match=r"no value for \{devcie\}\n  next: use one of: config, device"):
        Command("show {devcie}").argv({"device": "pi-1", "config": "c"})


def test_placeholders_include_the_device_it_is_typed_on() -> None:
    assert on_device("systemctl status {unit}", "device2").placeholders() == {"unit", "device2"}


def test_refused_keeps_code_and_words() -> None:
    command = refused("fleet server status", 3, contains="not installed")
    assert (command.exit_code, command.contains) == (3, ("not installed",))


def test_a_killed_command_knows_the_placeholders_of_its_moment() -> None:
    command = killed("fleet secrets rotate x", at="{device2}: registered")
    assert (command.exit_code, command.placeholders()) == (137, {"device2"})


def test_a_step_says_what_one_should_see() -> None:
    demo = scenario()
    demo.step("Look", "true")(seen)
    assert demo.steps[0].expected == "It works."


def test_a_step_without_docstring_is_refused() -> None:
    def silent(_run: Run) -> None: ...

    with pytest.raises(Misused, match="no docstring"):
        scenario().step("Look")(silent)


def test_a_check_that_takes_another_number_of_results_is_refused() -> None:
    def of_two(_run: Run, first: Result, second: Result) -> None:
        """See two."""

    with pytest.raises(Misused, match="cannot take the results of 1 commands"):
        scenario().step("Look", "fleet device list")(of_two)


def test_two_steps_of_one_title_are_refused() -> None:
    demo = scenario()
    demo.step("Look")(seen)
    with pytest.raises(Misused, match="has a step 'Look' already"):
        demo.step("Look")


@pytest.mark.parametrize(
    ("server", "devices", "needs"),
    [
        (False, 0, "a place to install into"),
        (True, 0, "an installed fleet server"),
        (True, 1, "an installed fleet server and a device"),
        (True, 3, "an installed fleet server and 3 devices"),
    ],
)
def test_needs_are_said_in_words(server: bool, devices: int, needs: str) -> None:
    assert Scenario("x", "x", "x", "x", server=server, devices=devices).needs == needs
