"""The identity provider of a shared cluster: a person at the terminal, or a program, signs in there."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.errors import Misused, TargetUnavailable
from harness.scenario.command import run
from harness.targets.cluster.description import Description

_SIGN_IN = 300.0
"""Seconds that a person has."""


class Person(msgspec.Struct, frozen=True):
    """Satisfies `Identity`."""

    issuer: str
    ca: Path
    admin_token_file: Path
    approve_command: tuple[str, ...] = ()

    def approve(self, user_code: str) -> None:
        """Let the described program allow the code, or ask the person at the terminal.

        Raises:
            Misused: there is neither.
        """
        if self.approve_command:
            done = subprocess.run([*self.approve_command, user_code], capture_output=True, text=True, check=False)
            if done.returncode:
                raise Misused(
                    f"`{self.approve_command[0]}` did not approve {user_code}: {done.stdout}{done.stderr}",
                    next_step="try it by hand with the code of `fleet login`",
                )
            return
        say(f"approve {user_code} at {self.issuer}/device")


def say(line: str) -> None:
    """Tell the person at the terminal, also while pytest captures output.

    Raises:
        Misused: nobody is there.
    """
    try:
        with Path("/dev/tty").open("w") as terminal:
            terminal.write(f"\n{line}\n")
    except OSError as error:
        raise Misused(
            f"nobody is at a terminal to {line}", next_step="describe an approve_command, or run at a terminal"
        ) from error


def sign_in(description: Description, env: Mapping[str, str], folder: Path) -> Path:
    """The file with an administrator's token: as described, else of somebody who signs in now.

    Raises:
        TargetUnavailable: nobody did.
    """
    if description.admin_token_file is not None:
        return description.admin_token_file
    argv = ["fleet", "login", "--admin-oidc-client-id", description.admin_client_id]
    result = run(argv, " ".join(argv), env=env, folder=folder, deadline=_SIGN_IN, on_line=say)
    token = Path(env["XDG_CONFIG_HOME"]) / "fleet" / "token"
    if result.code != 0 or not token.exists():
        raise TargetUnavailable(f"nobody signed in:\n{result}", next_step="run it again, or give an admin_token_file")
    return token
