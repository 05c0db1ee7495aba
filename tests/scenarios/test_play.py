"""Playing a scenario: real commands, and a verdict that says whose failure it is, where, and what was seen."""

from __future__ import annotations

import pkgutil
import re
from dataclasses import dataclass, field, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import cast, get_type_hints

import msgspec
import pytest

import scenarios
from harness.errors import BinaryMissing, IdentityProviderDown, Misused, WorldBroken
from harness.scenario.command import Result
from harness.scenario.command_line import Command, on_device, refused, signed_in
from harness.scenario.player import StepFailed, play
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario, Step
from harness.scenario.step_log import Recorder, read_records
from harness.world.folders import logs_to_read
from tests.scenarios.fake import fake, run_in


class Answer(msgspec.Struct):
    word: str


def scenario() -> Scenario:
    return Scenario(id="demo", title="Demonstrate", chapter="Demo", why="To see.")


def one_step(*commands: str | Command, look_at: tuple[str, ...] = ()) -> Scenario:
    demo = scenario()

    @demo.step("Look", *commands, look_at=look_at)
    def look(_run: Run) -> None:
        """It works."""

    assert look
    return demo


def shell(script: str) -> str:
    return f"""sh -c '{script}'"""


def test_results_reach_the_check_typed_and_in_order(tmp_path: Path) -> None:
    demo = scenario()
    words: list[str] = []

    @demo.step("Ask", 'echo \'{{"word": "{device}"}}\''.replace("{{", "{").replace("}}", "}"), "echo second")
    def ask(_run: Run, first: Result, second: Result) -> None:
        """A word comes back."""
        words.extend([first.json(Answer).word, second.stdout.strip()])

    play(demo, run_in(tmp_path), Recorder(None))
    assert ask
    assert words == ["pi-1", "second"]


@dataclass(frozen=True)
class Seen:
    """What a step of these tests saw."""

    container: str
    process: int | None = None
    names: list[str] = field(default_factory=list[str])


def test_steps_share_what_they_keep(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    with pytest.raises(Misused, match="no earlier step kept a Seen"):
        run.kept(Seen)
    run.keep(Seen("abc"))
    run.keep(replace(run.kept(Seen), process=3))
    assert run.kept(Seen) == Seen("abc", 3)


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (Seen(cast("str", 3)), "Seen.container is 3"),
        (Seen("abc", cast("int", "3")), "Seen.process is '3'"),
        (Seen("abc", names=cast("list[str]", "web")), "Seen.names is 'web'"),
        (cast("Seen", {"container": "abc"}), "is no dataclass"),
    ],
    ids=["text", "union", "list", "no-dataclass"],
)
def test_a_value_of_another_type_is_not_kept(state: Seen, named: str, tmp_path: Path) -> None:
    run = run_in(tmp_path)
    with pytest.raises(Misused, match=re.escape(named)):
        run.keep(state)
    with pytest.raises(Misused, match="no earlier step"):
        run.kept(Seen)


def test_the_types_of_each_state_of_the_runbook_are_known_while_it_is_played() -> None:
    modules = [import_module(one.name) for one in pkgutil.walk_packages(scenarios.__path__, "scenarios.")]
    named = [(module.__name__, one) for module in modules for one in vars(module).values() if is_dataclass(one)]
    states = [one for name, one in named if one.__module__ == name]
    assert len(states) > 20
    for state in states:
        assert get_type_hints(state)


def test_a_device_command_is_typed_on_the_device(tmp_path: Path) -> None:
    demo = one_step(Command("printenv WHERE", contains=("admin",)))
    play(demo, run_in(tmp_path), Recorder(None))
    demo = one_step(on_device("printenv WHERE"))
    with pytest.raises(StepFailed):
        play(one_step(Command("printenv WHERE", contains=("device",))), run_in(tmp_path), Recorder(None))
    play(demo, run_in(tmp_path), Recorder(None))


def test_a_wrong_exit_code_is_the_products_failure(tmp_path: Path) -> None:
    demo = one_step(shell("echo no room >&2; exit 7"), look_at=("operator", "agent:device"))
    with pytest.raises(StepFailed) as failure:
        play(demo, run_in(tmp_path), Recorder(None))
    message = str(failure.value)
    assert "Demonstrate: the step «Look» failed (demo, step 1)" in message
    assert "it ended with exit code 7; 0 is right" in message
    assert "no room" in message
    assert "should be: It works." in message
    logs = logs_to_read(tmp_path)
    assert f"read: the log of operator ({logs}/operator.log), the log of agent-pi-1" in message


def test_the_same_failure_in_a_broken_world_is_the_worlds(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    fake(run).wrong = ["the issuer hangs"]
    with pytest.raises(WorldBroken, match="the issuer hangs"):
        play(one_step("false"), run, Recorder(None))


def test_a_failed_check_is_judged_like_a_failed_command(tmp_path: Path) -> None:
    demo = scenario()

    @demo.step("Compare", "echo 2")
    def compare(_run: Run, result: Result) -> None:
        """Three comes out."""
        assert result.stdout.strip() == "3", "two came out"

    assert compare
    with pytest.raises(StepFailed, match=r"(?s)seen: two came out.*\$ echo 2"):
        play(demo, run_in(tmp_path), Recorder(None))


def test_a_refusal_must_come_with_its_code_and_its_words(tmp_path: Path) -> None:
    refusal = shell("echo not a valid device id >&2; exit 2")
    play(one_step(refused(refusal, 2, contains="not a valid")), run_in(tmp_path), Recorder(None))
    with pytest.raises(StepFailed, match="exit code 2; 5 is right"):
        play(one_step(refused(refusal, 5, contains="not a valid")), run_in(tmp_path), Recorder(None))
    with pytest.raises(StepFailed, match="does not say 'RFC 1123'"):
        play(one_step(refused(refusal, 2, contains="RFC 1123")), run_in(tmp_path), Recorder(None))


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    demo = one_step(Command(shell("sleep 77 & echo $! > child; wait"), deadline=0.3))
    with pytest.raises(StepFailed, match=r"had not ended after 0\.3 s"):
        play(demo, run_in(tmp_path), Recorder(None))
    child = int((tmp_path / "child").read_text())
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_a_program_that_is_not_there_is_the_worlds_failure(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissing, match="no program 'fleeet'"):
        play(one_step("fleeet server status"), run_in(tmp_path), Recorder(None))


def test_a_command_reads_nothing(tmp_path: Path) -> None:
    play(one_step(Command(shell("cat; echo over"), contains=("over",))), run_in(tmp_path), Recorder(None))


WAITING_FOR_APPROVAL = "echo open http://id/device and enter FWRK-JGWK; until [ -e approved ]; do :; done"


def test_a_sign_in_is_approved_while_the_command_runs(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    play(one_step(signed_in(shell(WAITING_FOR_APPROVAL))), run, Recorder(None))
    assert fake(run).approved == ["FWRK-JGWK"]


def test_a_sign_in_that_nobody_can_approve_is_the_worlds_failure(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    fake(run).issuer_down = True
    with pytest.raises(IdentityProviderDown):
        play(one_step(signed_in(shell("echo FWRK-JGWK"))), run, Recorder(None))


def test_secrets_are_in_neither_message_nor_record(tmp_path: Path) -> None:
    demo = one_step(shell("echo very-secret-value; exit 1"))
    recorder = Recorder(tmp_path / "steps" / "main.jsonl")
    with pytest.raises(StepFailed) as failure:
        play(demo, run_in(tmp_path), recorder)
    assert "[REDACTED]" in str(failure.value)
    assert "very-secret-value" not in str(failure.value) + (tmp_path / "steps" / "main.jsonl").read_text()


def test_every_step_leaves_a_record_and_the_first_failure_ends_the_scenario(tmp_path: Path) -> None:
    demo = one_step("echo {device}")

    @demo.step("Fail", "false")
    def fail(_run: Run) -> None:
        """Nothing is wrong."""

    @demo.step("Never")
    def never(_run: Run) -> None:
        """This is reached."""

    assert fail
    assert never
    with pytest.raises(StepFailed):
        play(demo, run_in(tmp_path), Recorder(tmp_path / "steps" / "main.jsonl"))
    records = read_records(tmp_path / "steps")
    assert [(record.step, record.outcome) for record in records] == [("Look", "passed"), ("Fail", "product")]
    assert records[0].commands == ("echo pi-1",)
    assert records[0].target == "fake"


def test_a_disturbance_comes_before_each_step(tmp_path: Path) -> None:
    seen: list[str] = []

    def disturb(step: Step) -> None:
        seen.append(step.title)

    play(one_step("true"), run_in(tmp_path), Recorder(None), before_each=disturb)
    assert seen == ["Look"]


def test_a_step_that_ends_what_others_share_waits_until_it_is_alone(tmp_path: Path) -> None:
    demo = one_step("true")

    @demo.step("End", "true", alone=True)
    def end(_run: Run) -> None:
        """It ends."""

    assert end
    run = run_in(tmp_path)
    play(demo, run, Recorder(None))
    assert fake(run).turns == [False, True]


def test_a_record_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "gw0.jsonl")
    play(one_step("true"), run_in(tmp_path), recorder)
    with (tmp_path / "gw0.jsonl").open("a") as file:
        file.write('{"scenario": "de')
    assert [record.step for record in read_records(tmp_path)] == ["Look"]


def test_a_steps_files_lie_where_its_commands_run(tmp_path: Path) -> None:
    demo = scenario()

    @demo.step("Read", "cat web.yaml", files={"web.yaml": "name: {device}\nlabels: {}\n"})
    def read(_run: Run, result: Result) -> None:
        """The file names the device."""
        assert result.stdout == "name: pi-1\nlabels: {}\n"

    assert read
    play(demo, run_in(tmp_path), Recorder(None))


def test_a_command_that_stays_goes_on_while_the_next_is_typed_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    """As `fleet web`, which forwards a port: a person types the rest in another terminal."""
    demo = scenario()
    lines = 'trap "echo ended >> seen; exit 130" INT; echo at work; while :; do sleep 0.05; done'
    staying = Command(shell(lines), contains=("at work",), stays="at work")

    @demo.step("Stay, and type another", staying, shell("echo typed >> seen; cat seen"))
    def looked(run: Run, first: Result, second: Result) -> None:
        """Both are seen."""
        assert (first.code, first.stdout) == (0, "at work\n")
        assert second.stdout == "typed\n"

    assert looked
    run = run_in(tmp_path)
    play(demo, run, Recorder(None))
    run.end_staying()
    assert (tmp_path / "seen").read_text() == "typed\nended\n"
    run.end_staying()


@pytest.mark.parametrize(
    ("line", "deadline", "wrong"),
    [("echo no; exit 3", 30.0, "ended with exit code 3"), ("sleep 60", 0.3, "had not ended after 0.3 s")],
)
def test_a_command_that_does_not_come_to_its_work_fails(tmp_path: Path, line: str, deadline: float, wrong: str) -> None:
    run = run_in(tmp_path)
    with pytest.raises(StepFailed, match=wrong):
        play(one_step(Command(shell(line), stays="at work", deadline=deadline)), run, Recorder(None))
    run.end_staying()


def test_a_command_that_need_not_stay_may_end(tmp_path: Path) -> None:
    """Where the page has an address of its own, `fleet web` prints it."""
    run = run_in(tmp_path)
    play(one_step(Command(shell("echo there"), contains=("there",), stays="at work")), run, Recorder(None))
    run.end_staying()
