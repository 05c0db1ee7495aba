"""Only `fleet.process.console` prints: it escapes what comes from outside, and survives odd standard outputs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.repo.test_documents import ROOT, tracked

DOOR = "fleet/process/console.py"
FOR_PROGRAMS = {
    "fleet/agent/grant.py": "answers its parent in JSON",
    "fleet/agent/unseal.py": "answers its parent in JSON",
    "fleet/agent/new_key.py": "answers its parent in JSON",
    "fleet/agent/upgrade/device/stage.py": "answers its parent in JSON",
    "fleet/agent/upgrade/device/take_keys.py": "answers its parent in JSON",
    "fleet/launcher/ender.py": "answers `fleet device uninstall` a line for each container",
    "fleet/launcher/launcher.py": "has the standard library only, and says what it wrote itself",
    "fleet/process/logs.py": "writes JSON lines, whose fields `escape` escapes",
    "fleet/entry.py": "says its own version, before it imports anything",
}
PRINTERS = {"print", "echo", "secho", "print_exc", "print_exception"}
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}


def direct_prints(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of whatever writes to a standard stream; `done.stdout` is what another program said."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) if name in PRINTERS:
                yield node.lineno, name
            case ast.Attribute(attr=name) if name in PRINTERS:
                yield node.lineno, name
            case ast.Attribute(value=ast.Name(id="sys"), attr=name) if name in STREAMS:
                yield node.lineno, name
            case ast.ImportFrom(module="sys"):
                yield node.lineno, "from sys import"
            case _:
                pass


def test_only_the_door_prints() -> None:
    allowed = {DOOR, *FOR_PROGRAMS, "fleet/cli/main.py"}
    found = [
        f"{path}:{line} {name}"
        for file in tracked()
        if (path := file.relative_to(ROOT).as_posix()).startswith("fleet/") and path.endswith(".py")
        if path not in allowed
        for line, name in direct_prints(file.read_text())
    ]
    assert not found, "print by `fleet.process.console`, or by `fleet.cli.output`"


def test_a_direct_print_is_found() -> None:
    for text in ("print(1)", "typer.echo(x)", "sys.stderr.write(x)", "from sys import stdout\nstdout.write(x)"):
        assert list(direct_prints(text)), text
    assert not list(direct_prints("done = run(); told = done.stdout + done.stderr"))


def test_every_exception_is_needed() -> None:
    for path in FOR_PROGRAMS:
        assert list(direct_prints((ROOT / path).read_text())), f"{path} prints nothing any more"
