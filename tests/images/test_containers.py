"""What the images do on a real engine, under the limits that a restricted namespace sets."""

from __future__ import annotations

import json

import pytest

from fleet.version import VERSION
from images.product import PROGRAMS
from tests.images.conftest import Engine

_IMPORT_ALL = """
import importlib, pkgutil, fleet
names = [found.name for found in pkgutil.walk_packages(fleet.__path__, "fleet.")]
names.remove("fleet.artifacts.build")  # agents are built from a checkout, with shiv
for name in names:
    importlib.import_module(name)
print(*names)
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_starts_without_rights_and_without_a_file_to_write(
    engine: Engine, product: str, program: str
) -> None:
    assert f"usage: {program}" in engine.run(product, program, "--help").lower()


def test_whatever_a_program_may_import_is_there(engine: Engine, product: str) -> None:
    names = engine.run(product, "python3", "-c", _IMPORT_ALL).split()
    assert {"fleet.operator.main", "fleet.callout.main", "fleet.cli.main"} <= set(names)


def test_the_authorities_of_the_web_are_trusted(engine: Engine, product: str) -> None:
    known = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    assert int(engine.run(product, "python3", "-c", known)) > 50


def test_there_is_no_shell_and_no_package_manager(engine: Engine, product: str) -> None:
    for program in ("sh", "bash", "dash", "apt-get", "dpkg", "perl"):
        assert engine.call("run", "--rm", "--network=none", product, program).returncode == 127


def test_the_image_says_what_it_is(engine: Engine, product: str) -> None:
    config = json.loads(engine.docker("image", "inspect", product))[0]["Config"]
    assert config["User"] == "65532:0"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.revision"] != "unknown"
    assert labels["io.nationtech.fleet.source-digest"].startswith("sha256:")
    assert engine.run(product, "fleet", "--version") == f"fleet {VERSION}\n"


def test_nats_runs_in_its_image(engine: Engine, nats: str) -> None:
    assert engine.run(nats, "--version") == f"nats-server: v{nats.partition(':')[2]}\n"


def test_pause_waits_until_it_is_told_to_end(engine: Engine, pause: str) -> None:
    engine.docker("run", "--detach", "--name", "paused", "--read-only", "--network=none", pause)
    engine.docker("stop", "--time", "20", "paused")
    assert engine.docker("inspect", "--format", "{{.State.ExitCode}}", "paused").strip() == "0"


def test_the_identity_double_starts_in_its_image(engine: Engine, zitadel_double: str) -> None:
    assert "--state DIR" in engine.run(zitadel_double, "python3", "-sP", "-m", "harness.doubles.zitadel", "--help")
