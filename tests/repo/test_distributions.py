"""The repository's two distributions: what each puts into an empty environment, and that each is whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fleet.version import VERSION
from tests.repo.test_documents import ROOT, tracked

PROJECTS = {"fleet": ".", "fleet-harness": "distributions/harness"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels, built from a copy of the repository."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheels")
    for path in tracked():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    folders = [str(copy / folder) for folder in PROJECTS.values()]
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), *folders)
    return {name: next(built.glob(f"{name.replace('-', '_')}-{VERSION.removeprefix('v')}-*.whl")) for name in PROJECTS}


def _pip(*arguments: str) -> None:
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet", "--no-index"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Environment:
    """An environment that holds nothing but the wheels it was made with."""

    def __init__(self, folder: Path, *wheels: Path) -> None:
        self._folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        _pip("--python", str(folder / "bin/python"), "install", "--no-deps", *map(str, wheels))
        (self._packages,) = folder.glob("lib/python*/site-packages")

    @property
    def packages(self) -> set[str]:
        """What can be imported."""
        return {path.name for path in self._packages.iterdir() if path.suffix != ".dist-info"}

    @property
    def programs(self) -> set[str]:
        return {path.name for path in (self._folder / "bin").iterdir() if path.name.startswith("fleet")}

    @property
    def entry_points(self) -> dict[str, set[str]]:
        """The names that are registered, by their group."""
        found: dict[str, set[str]] = {}
        for file in self._packages.glob("*.dist-info/entry_points.txt"):
            group = ""
            for line in file.read_text().splitlines():
                if line.startswith("["):
                    group = line.strip("[]")
                elif line:
                    found.setdefault(group, set()).add(line.partition(" = ")[0])
        return found

    def run(self, *arguments: str, cwd: Path) -> str:
        """What the environment's Python prints, with the libraries of this one beside it."""
        (libraries,) = {path for path in sys.path if Path(path, "msgspec").is_dir()}
        env = {**os.environ, "PYTHONPATH": f"{self._packages}:{libraries}"}
        argv = [str(self._folder / "bin/python"), "-P", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_the_product_is_fleet_alone(wheels: dict[str, Path], tmp_path: Path) -> None:
    product = Environment(tmp_path / "env", wheels["fleet"])
    assert product.packages == {"fleet"}
    assert product.programs == {"fleet", "fleet-agent", "fleet-callout", "fleet-operator"}
    assert product.entry_points == {"console_scripts": product.programs, "fleet.topologies": {"kubernetes"}}
    said = product.run("-c", "import fleet.cli.main; print(fleet.__file__)", cwd=tmp_path)
    assert said.startswith(str(tmp_path / "env/lib"))


def test_the_product_has_every_file_of_the_web_page(wheels: dict[str, Path]) -> None:
    page = {str(path.relative_to(ROOT)) for path in tracked() if path.is_relative_to(ROOT / "fleet/web")}
    assert {path.rpartition(".")[2] for path in page} >= {"html", "css", "js", "svg"}
    with zipfile.ZipFile(wheels["fleet"]) as wheel:
        assert page <= set(wheel.namelist())


def test_the_harness_brings_the_plugin_and_no_part_of_the_product(wheels: dict[str, Path], tmp_path: Path) -> None:
    harness = Environment(tmp_path / "env", wheels["fleet-harness"])
    assert harness.packages == {"harness", "images", "reports", "scenarios"}
    assert harness.programs == set()
    assert harness.entry_points == {"pytest11": {"fleet"}, "fleet.topologies": {"process"}}


def test_both_together_play_scenarios(wheels: dict[str, Path], tmp_path: Path) -> None:
    both = Environment(tmp_path / "env", *wheels.values())
    where = tmp_path / "elsewhere"
    where.mkdir()
    (where / "test_wheel.py").write_text(
        "import harness, scenarios.install\n"
        f"def test_it_comes_from_the_wheel(): assert harness.__file__.startswith({str(tmp_path)!r})\n"
    )
    said = both.run("-m", "pytest", "-q", "-n", "0", "--fleet-target", "embedded", "-p", "no:cacheprovider", cwd=where)
    assert "1 passed" in said


def test_both_have_the_products_version_and_the_harness_asks_for_it() -> None:
    product, harness = (tomllib.loads((ROOT / folder / "pyproject.toml").read_text()) for folder in PROJECTS.values())
    assert product["project"]["version"] == harness["project"]["version"] == VERSION.removeprefix("v")
    (needed,) = [one for one in map(Requirement, harness["project"]["dependencies"]) if one.name == "fleet"]
    assert str(needed.specifier) == f"=={VERSION.removeprefix('v')}"
    assert needed.extras <= product["project"]["optional-dependencies"].keys()
