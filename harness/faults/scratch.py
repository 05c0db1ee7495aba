"""A scratch copy of the tree with a patch applied, and the proof that what ran came from there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from harness.errors import HarnessError
from harness.faults.fault import REPOSITORY

_BUILT_IN = Path("fleet/agent/upgrade")
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "out", "build", "__pycache__", "*.egg-info", ".*_cache", "allure-*"
)


def copy(tree: Path, patch: Path) -> None:
    """Copy our tree to `tree`, which must not exist, and apply a patch to it.

    Raises:
        HarnessError: the patch does not apply, for the code it changes has moved on; or what comes of it is no Python.
    """
    shutil.copytree(REPOSITORY, tree, ignore=_LEFT_OUT, symlinks=True)
    apply(patch, tree)
    for path in _modules(patch):
        try:
            compile((tree / path).read_text(), str(path), "exec")
        except SyntaxError as error:
            raise HarnessError(
                f"{patch.name} leaves {path} broken in line {error.lineno}: {error.msg}",
                next_step="plant a fault that runs: one that cannot be imported is seen by any test",
            ) from error


def apply(patch: Path, tree: Path, *, check: bool = False) -> None:
    """Apply a patch to a tree, or only see whether it would apply.

    Raises:
        HarnessError: it does not.
    """
    argv = ["git", "apply", *(["--check"] if check else []), str(patch)]
    # Without this, git would look at the repository around the copy instead of the copy.
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(argv, cwd=tree, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(
            f"{patch.name} does not apply: {done.stderr.strip()}",
            next_step="the code it breaks has changed: make the patch anew, so that it plants the same fault",
        )


def touched(patch: Path) -> list[Path]:
    """The files that a patch changes, relative to the tree."""
    return [Path(line[6:].strip()) for line in patch.read_text().splitlines() if line.startswith("+++ b/")]


def not_loaded(patch: Path, tree: Path) -> list[str]:
    """The patched modules that nothing imported from the scratch copy; each import leaves its compiled form there.

    What only an agent that was built imports leaves nothing there: it runs from the file that it was built into.
    """
    modules = [path for path in _modules(patch) if not path.is_relative_to(_BUILT_IN)]
    return [str(path) for path in modules if not list((tree / path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))]


def _modules(patch: Path) -> list[Path]:
    return [path for path in touched(patch) if path.suffix == ".py"]
