"""The chart in a real registry: pushed by the command, pulled by helm, the same as it was rendered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fleet.chart.argo import application
from fleet.chart.files import chart_files
from fleet.chart.publish import parse_repository, publish
from fleet.cli.main import app
from fleet.contract.errors import FleetError, InvalidInput, NotFound
from tests.support.full_disk import full_after
from tests.support.helm import Helm, given, running_registry


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def helm_on_path(helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helm:
    monkeypatch.setenv("PATH", str(helm.program.parent), prepend=":")
    for name in ("HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return helm


def test_what_was_published_is_pulled_again(helm_on_path: Helm, repository: str, tmp_path: Path) -> None:
    reference, digest = publish(repository, plain_http=True)
    assert reference == f"{repository}/fleet:0.1.0"
    assert publish(repository, plain_http=True) == (reference, digest), "the same chart has another digest"
    helm_on_path("pull", f"{repository}/fleet", "--plain-http", "--untar", "--destination", str(tmp_path / "pulled"))
    pulled = tmp_path / "pulled/fleet"
    files = {str(path.relative_to(pulled)): path.read_text() for path in pulled.rglob("*") if path.is_file()}
    assert files == chart_files()
    there = Helm(helm_on_path.program, tmp_path, pulled).template(given())
    assert there == helm_on_path.template(given())


@pytest.mark.usefixtures("helm_on_path")
def test_a_registry_that_does_not_answer_is_told_by_name() -> None:
    with pytest.raises(FleetError, match=r"127\.0\.0\.1:9.*connection refused") as caught:
        publish("oci://127.0.0.1:9/charts", plain_http=True)
    assert "helm registry login" in caught.value.next_step


def test_without_helm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match="no helm on the PATH"):
        publish("oci://127.0.0.1:9/charts", plain_http=True)


@pytest.mark.parametrize("text", ["registry.example.org/charts", "oci://", "oci://registry/charts:1.0", "oci://a b"])
def test_other_words_are_no_repository(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no OCI repository"):
        parse_repository(text)


def test_argocd_is_told_the_chart_the_values_and_the_namespace(capsys: pytest.CaptureFixture[str], helm: Helm) -> None:
    words = ["server", "chart", "application", "oci://registry.example.org/charts", "-n", "here"]
    app([*words, "--values", helm.values(given())], standalone_mode=False)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed == application("oci://registry.example.org/charts", "here", given())
    source = printed["spec"]["source"]
    assert (source["repoURL"], source["chart"]) == ("registry.example.org/charts", "fleet")
    assert source["helm"]["valuesObject"] == given()
    assert printed["spec"]["destination"]["namespace"] == "here"


def test_values_that_the_chart_would_refuse_make_no_application(helm: Helm) -> None:
    words = ["server", "chart", "application", "oci://registry.example.org/charts", "--values"]
    with pytest.raises(InvalidInput, match=r"nats\.host is missing"):
        app([*words, helm.values(given(nats__host=""))], standalone_mode=False)
    with pytest.raises(InvalidInput, match="holds no values"):
        app([*words, "/dev/null"], standalone_mode=False)
    with pytest.raises(InvalidInput, match="No such file"):
        app([*words, "/nowhere"], standalone_mode=False)


def test_the_chart_is_rendered_into_a_folder_and_never_over_something_else(tmp_path: Path) -> None:
    words = ["server", "chart", "render", str(tmp_path / "chart")]
    app(words, standalone_mode=False)
    app(words, standalone_mode=False)
    found = {str(path.relative_to(tmp_path / "chart")) for path in (tmp_path / "chart").rglob("*") if path.is_file()}
    assert found == set(chart_files())
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").touch()
    with pytest.raises(FleetError, match="holds something, and no chart"):
        app([*words[:-1], str(tmp_path / "letters")], standalone_mode=False)


def test_a_chart_that_a_full_disk_cuts_is_told(tmp_path: Path) -> None:
    with full_after(512), pytest.raises(InvalidInput, match="is incomplete") as error:
        app(["server", "chart", "render", str(tmp_path / "chart")], standalone_mode=False)
    assert "free space there" in error.value.next_step
