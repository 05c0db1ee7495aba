"""Documents that are wrong are worse than none: links lead somewhere, verbs and markers exist."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from harness.pytest_plugin.plugin import MARKERS

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@cache
def tracked() -> list[Path]:
    """Every file of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def pages() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def anchors(page: Path) -> set[str]:
    """The headings of a page as its renderer names them: lower case, without punctuation, `-` for spaces."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_the_readmes_commands_can_be_pasted() -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    commands = "".join(text for language, text in blocks if not language)
    assert "fleet deployment apply" in commands
    assert not re.findall(r".*(?:\N{HORIZONTAL ELLIPSIS}|\.\.\.).*", commands), "nobody knows what stands there"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_make_verbs_that_documents_name_exist(page: Path) -> None:
    verbs = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z0-9]+)|^ *make ([a-z0-9]+)(?= *#|$)", page.read_text(), re.MULTILINE))
    assert {verb for pair in named for verb in pair if verb} <= verbs


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_documents_name_exist(page: Path) -> None:
    """A path in backquotes that begins with a folder of the repository is a promise."""
    folders = "|".join(sorted({path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}))
    named = re.findall(rf"`(?:\./)?((?:{folders})/[\w./-]*)`", _FENCE.sub("", page.read_text()))
    gone = [name for name in named if not (ROOT / name).exists() and not list(ROOT.glob(f"{name.rstrip('/')}*"))]
    assert not gone


def test_every_promise_of_the_threat_model_names_tests_that_are_there() -> None:
    """`docs/security.md`: the last cell of a row says what holds its promise; a table of figures follows later."""
    page, figures, _ = (ROOT / "docs" / "security.md").read_text().partition("\n## The hostile device\n")
    assert figures
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    promises = [row for row in rows if row[0] != "promise"]
    assert len(promises) > 10
    for promise, *_, held in promises:
        named = re.findall(r"`((?:tests|e2e)/[^`]+)`", held)
        assert named, f"no test holds: {promise}"
        for name in named:
            place = ROOT / name
            files = list(place.glob("test_*.py")) if place.is_dir() else [place]
            assert files, name
            assert all("def test_" in file.read_text() for file in files), name


@pytest.mark.parametrize("marker", MARKERS)
def test_every_marker_is_documented(marker: str) -> None:
    assert MARKERS[marker]
    assert any(f"`{marker}`" in page.read_text() for page in pages()), f"no document explains the marker {marker}"


def test_every_make_verb_explains_itself() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    verbs = re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in shown.splitlines() if line.strip()] == verbs


def test_files_that_decide_define_the_names_that_the_architecture_says() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`(\w+)` in \[`[\w/.]+`\]\(\.\./([\w/.]+)\)", text)
    assert len(named) >= 10
    missing = [
        f"{name} in {path}"
        for name, path in named
        if not re.search(rf"^ *((async )?def {name}\(|{name}: |{name} = )", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert not missing
