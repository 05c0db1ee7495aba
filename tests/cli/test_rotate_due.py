"""`fleet secrets rotate --due` renews what it can, also beside a secret that cannot be rotated now."""

from __future__ import annotations

import msgspec
import pytest

from fleet.cli.output import Output
from fleet.cli.secrets import _each  # pyright: ignore[reportPrivateUsage]
from fleet.contract.errors import TimedOut
from fleet.rotation.catalogue import SECRETS, Secret

WANTED = [msgspec.structs.replace(SECRETS[0], name=name) for name in ("one", "two", "three")]


def rotated(secret: Secret) -> dict[str, str]:
    if secret.name == "two":
        return {"name": secret.name, "id": "1", "outcome": "rotated, now 1"}
    raise TimedOut(f"it waits for {secret.name}", next_step="mend it")


def test_a_secret_that_waits_holds_up_no_other_that_is_due(capsys: pytest.CaptureFixture[str]) -> None:
    """A timer would else renew nothing as long as the first one waits."""
    with pytest.raises(TimedOut, match="2 of 3 secrets that are due are not rotated") as error:
        _each(WANTED, rotated, Output.TABLE)
    assert error.value.more == ("one: it waits for one", "three: it waits for three")
    assert capsys.readouterr().out == "two: rotated, now 1\n"


def test_one_alone_says_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TimedOut, match="it waits for one"):
        _each(WANTED[:1], rotated, Output.TABLE)
    _each([], rotated, Output.TABLE)
    assert capsys.readouterr().out == "no secret is due\n"
