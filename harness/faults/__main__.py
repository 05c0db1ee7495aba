"""`python -m harness.faults [--list] [NAME ...]`: plant faults and check the verdicts; 1 when one is wrong."""

from __future__ import annotations

import argparse
import sys

from harness.errors import HarnessError, Misused
from harness.faults.fault import Fault, product_faults
from harness.faults.play import Outcome, adopt_orphans, play
from harness.faults.worlds import world_faults


def main(argv: list[str]) -> int:
    """Play the faults named, or all of them; one line each as it ends, and the reasons of every miss at the end."""
    options = _arguments(argv)
    try:
        faults = _chosen(options.names, [*product_faults(), *world_faults()])
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.list:
        for fault in faults:
            _say(f"{fault.name:28} {fault.verdict:8} {fault.sentence}")
        return 0
    adopt_orphans()
    _say(_ROW.format("fault", "expected", "verdict", "seconds", "points at", "test"))
    missed = [outcome for outcome in map(_played, faults) if outcome.problem]
    for outcome in missed:
        _say(f"\n{outcome.fault.name}: {outcome.fault.sentence}\n  {outcome.problem}")
    _say(f"\n{len(faults) - len(missed)} of {len(faults)} faults were seen for what they are")
    return 1 if missed else 0


_ROW = "{:28} {:8} {:8} {:>7}  {:32} {}"


def _played(fault: Fault) -> Outcome:
    try:
        outcome = play(fault)
    except HarnessError as error:
        outcome = Outcome(fault, "not planted", "", 0, str(error))
    mark = "" if not outcome.problem else "  MISSED"
    pointed = outcome.points_at.splitlines()[0][:32] if outcome.points_at else "-"
    _say(_ROW.format(fault.name, fault.verdict, outcome.verdict, f"{outcome.seconds:.1f}", pointed, fault.test) + mark)
    return outcome


def _chosen(names: list[str], faults: list[Fault]) -> list[Fault]:
    by_name = {fault.name: fault for fault in faults}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise Misused(f"there is no fault {', '.join(unknown)}", next_step="see python -m harness.faults --list")
    return [by_name[name] for name in names] if names else faults


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.faults", description="Plant faults, check the verdicts.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them without a name")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    return parser.parse_args(argv)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
