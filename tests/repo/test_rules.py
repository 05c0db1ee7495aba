"""Rules of the repository that no other tool holds."""

from __future__ import annotations

import ast
import gc
import json
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fleet
from tests.repo.test_documents import ROOT, tracked

FACADE = {"AdminAuth", "FleetDeviceAuth", "FleetDeviceEnrollScore", "FleetDeviceSetupScore", "FleetServerScore"}


def test_the_facade_is_exactly_five_names() -> None:
    assert set(fleet.__all__) == FACADE
    assert all(isinstance(getattr(fleet, name), type) for name in FACADE)


def pins(name: str) -> dict[str, str]:
    """The version of every package that a requirements file pins."""
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", text, re.MULTILINE))


def needed(*extras: str) -> set[str]:
    """Every package that the project needs with these extras, directly or not, as installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    open_ends = [(Requirement(text), "") for text in project["dependencies"]]
    open_ends += [(Requirement(text), "") for extra in extras for text in project["optional-dependencies"][extra]]
    found: set[str] = set()
    while open_ends:
        requirement, extra = open_ends.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name == "fleet":
            texts = [text for wanted in requirement.extras for text in project["optional-dependencies"][wanted]]
            open_ends += [(Requirement(text), "") for text in texts]
        elif name not in found:
            found.add(name)
            texts = metadata.requires(name) or []
            open_ends += [(Requirement(text), wanted) for text in texts for wanted in ("", *requirement.extras)]
    return found


def test_the_image_holds_what_the_server_needs_and_was_tested() -> None:
    image, tested = pins("image.txt"), pins("dev.txt")
    assert set(image) == needed("server", "cli"), "./scripts/lock.sh writes it anew"
    assert image == {name: tested[name] for name in image}


def test_agents_and_servers_speak_by_the_same_libraries() -> None:
    image, agent = pins("image.txt"), pins("agent.txt")
    assert set(agent) == needed("agent"), "./scripts/lock.sh writes it anew"
    assert agent == {name: image[name] for name in agent}


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        python = path.read_text()
        assert "://" not in python
        assert pins(path.name)
        for block in re.split(r"^(?=[a-z0-9][\w.-]*==)", python, flags=re.MULTILINE)[1:]:
            assert "--hash=sha256:" in block, f"no hash: {block.splitlines()[0]}"
    node = (ROOT / "reports" / "package-lock.json").read_text()
    assert "://" not in node
    for name, package in json.loads(node)["packages"].items():
        assert "resolved" not in package, f"{name} holds an address"
        assert not name or package.get("integrity"), f"{name} has no checksum"


def test_the_servers_are_pinned_with_checksums() -> None:
    sums = (ROOT / "harness" / "binaries" / "go.sum").read_text()
    for module in ("k8s.io/kubernetes ", "go.etcd.io/etcd/server/v3 ", "github.com/nats-io/nats-server/v2 "):
        assert module in sums
    addons = (ROOT / "harness" / "binaries" / "addons" / "go.sum").read_text()
    for module in ("github.com/coredns/coredns ", "helm.sh/helm/v3 "):
        assert module in addons


def test_no_file_names_a_folder_of_one_machine() -> None:
    named = re.compile(rb"/(?:home|Users)/[a-z]+/|/work/")
    mine = Path(__file__)
    guilty = [str(path.relative_to(ROOT)) for path in tracked() if path != mine and named.search(path.read_bytes())]
    assert not guilty


def test_nobody_sleeps_in_a_test() -> None:
    """A test waits for a named condition under a deadline (`harness.wait`), so that it is neither slow nor flaky."""
    sleeps = re.compile(r"\b(?:time|asyncio)\.sleep\((?!0\))")
    folders = ("tests", "e2e", "scenarios")
    guilty = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.name.startswith("test_") and path.relative_to(ROOT).parts[0] in folders and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if sleeps.search(line)
    ]
    assert not guilty


def _fixed_pauses(source: str) -> list[int]:
    """The lines that sleep after an error for seconds that no `Backoff` chose. A lock that is taken is no error."""
    handlers = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler) and node.type and ast.unparse(node.type) != "BlockingIOError"
    ]
    calls = [node for handler in handlers for node in ast.walk(handler) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if re.search(r"\b(sleep|call_later)\Z", ast.unparse(call.func))
        and not re.search(r"\.next\(\)|\bpause\b", ast.unparse(call.args[0]))
    ]


def test_pauses_after_an_error_grow() -> None:
    """A fixed pause keeps a fleet in step, and asks a server that is down as often as on the first day."""
    guilty = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "fleet").rglob("*.py"))
        for line in _fixed_pauses(path.read_text())
    ]
    assert not guilty, "decision 090: use fleet.process.backoff"


def test_a_fixed_pause_after_an_error_is_found() -> None:
    fixed = "try:\n  work()\nexcept OSError:\n  await asyncio.sleep(_AGAIN)\n"
    assert _fixed_pauses(fixed) == [4]
    assert not _fixed_pauses(fixed.replace("_AGAIN", "backoff.next()"))


_BLOCKING = re.compile(r"\bhttpx\.(Client|get|post|request|stream)\(|\burlopen\(|client\.HTTPS?Connection\b")


def test_each_blocking_request_has_a_limit_for_all_of_it() -> None:
    """A library limits each step of a request, and a server that sends a byte a second makes any number of steps.

    The launcher asks the engine of its own machine only, and imports nothing of ours.
    """
    guilty = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "fleet").rglob("*.py"))
        if (ROOT / "fleet" / "launcher") not in path.parents
        and _BLOCKING.search(text := path.read_text())
        and "in_time(" not in text
    ]
    assert not guilty, "use fleet.process.deadline"


def test_scripts_can_be_run_and_parse() -> None:
    scripts = [path for path in tracked() if path.suffix == ".sh" or path == ROOT / ".ci" / "run"]
    assert {path.name for path in scripts} >= {"test.sh", "e2e-prod-shape.sh", "run"}
    for path in scripts:
        subprocess.run(["bash", "-n", str(path)], check=True)
        sourced = path.name == "lib.sh"
        assert sourced or path.stat().st_mode & 0o111, f"{path.name} cannot be executed"


def test_sources_stay_small() -> None:
    """A file is about one thing; well beyond 300 lines it is about two."""
    folders = ("fleet", "harness", "scenarios", "reports")
    long = {
        str(path.relative_to(ROOT)): count
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
        if (count := len(path.read_text().splitlines())) > 320
    }
    assert not long


def test_no_test_searches_what_was_collected_for_garbage() -> None:
    assert gc.get_freeze_count() > 0
    assert gc.isenabled()
