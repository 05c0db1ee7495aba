"""The same inputs give the same bytes, in the forms that engines and registries take."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion
from fleet.version import VERSION
from images.__main__ import main
from images.archive import PATH, USER, Image, docker_archive, write_docker_archive, write_oci_layout, write_root
from images.debian import is_kept
from images.layers import Layer, cache, layer, write_tar
from images.product import product_image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache()


@pytest.fixture
def small(empty_cache: Path) -> Image:
    """An image of one file."""
    found = layer("small", "key", lambda root: (root / "hello").write_text("hello\n"))
    return Image("localhost/small:1", (found,), ("hello",), labels={"a": "b"})


def test_a_tar_holds_no_times_owners_masks_or_rights(tmp_path: Path) -> None:
    tars: list[bytes] = []
    for number, mask in enumerate((0o022, 0o077)):
        root = tmp_path / str(number)
        before = os.umask(mask)
        try:
            (root / "bin").mkdir(parents=True)
            (root / "bin/run").write_text("#!")
            (root / "bin/run").chmod(0o4700 | ~mask & 0o055)
            (root / "link").symlink_to("bin/run")
            (root / "tmp").mkdir()
            (root / "tmp").chmod(0o1777)
        finally:
            os.umask(before)
        os.utime(root / "bin/run", (number, number))
        write_tar(root, tmp_path / f"{number}.tar")
        tars.append((tmp_path / f"{number}.tar").read_bytes())
    assert tars[0] == tars[1]
    with tarfile.open(tmp_path / "0.tar") as tar:
        modes = {entry.name: entry.mode for entry in tar}
    assert modes["bin/run"] == 0o755
    assert modes["tmp"] == 0o1777


def test_a_layer_is_made_once_and_not_half(empty_cache: Path) -> None:
    def fail(root: Path) -> None:
        (root / "half").touch()
        raise FleetError("no", next_step="-")

    with pytest.raises(FleetError, match="no"):
        layer("some", "key", fail)
    assert [path.name for path in empty_cache.iterdir()] == ["some-key.lock"]
    made = layer("some", "key", lambda root: (root / "whole").touch())
    assert layer("some", "key", fail) == made
    assert [path.name for path in made.root.iterdir()] == ["whole"]


def test_what_nobody_asked_for_in_two_weeks_is_removed(empty_cache: Path) -> None:
    old = layer("old", "key", lambda root: (root / "old").touch())
    os.utime(old.tar.parent, (0, 0))
    layer("new", "key", lambda root: (root / "new").touch())
    assert not old.tar.exists()


def test_the_product_is_the_same_bytes_every_time(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_here = product_image
    with monkeypatch.context() as outside:
        outside.delenv("XDG_CACHE_HOME")
        first = made_here()
    empty_cache.mkdir(parents=True)
    for lower in first.layers[:-1]:
        (empty_cache / lower.tar.parent.name).symlink_to(lower.tar.parent)
    again = product_image()
    assert again.layers[-1].root.is_relative_to(empty_cache)
    assert again.config == first.config


def test_the_image_holds_nothing_of_the_machine_that_built_it() -> None:
    told = [str(ROOT).encode(), str(cache()).encode(), sys.prefix.encode()]
    for made in product_image().layers:
        for path in made.root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert path.name not in {"RECORD", "direct_url.json"}, path
                content = path.read_bytes()
                assert not [name for name in told if name in content], path


def test_a_version_is_stamped_into_what_the_programs_say() -> None:
    image = product_image(AgentVersion("v9.8.7-rc.1+build.2"))
    assert image.name == "localhost/fleet:v9.8.7-rc.1_build.2"
    packages = image.layers[-1].root / "usr/local/lib/python3.11/dist-packages"
    assert 'VERSION = AgentVersion("v9.8.7-rc.1+build.2")' in (packages / "fleet/version.py").read_text()
    described = packages / "fleet-9.8.7-rc.1+build.2.dist-info"
    assert "Version: 9.8.7-rc.1+build.2\n" in (described / "METADATA").read_text()
    assert "harness" not in (described / "entry_points.txt").read_text()


def test_a_docker_archive_holds_what_its_manifest_says(small: Image, tmp_path: Path) -> None:
    write_docker_archive(small, tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as tar:
        content = {entry.name: (tar.extractfile(entry) or pytest.fail("no file")).read() for entry in tar}
    (manifest,) = msgspec.json.decode(content["manifest.json"])
    assert manifest["RepoTags"] == ["localhost/small:1"]
    config = content[manifest["Config"]]
    assert manifest["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    diff_ids = msgspec.json.decode(config)["rootfs"]["diff_ids"]
    assert [f"sha256:{hashlib.sha256(content[name]).hexdigest()}" for name in manifest["Layers"]] == diff_ids


def test_an_oci_layout_holds_what_its_index_says(small: Image, tmp_path: Path) -> None:
    write_oci_layout(small, tmp_path / "layout")

    def blob(descriptor: dict[str, str | int]) -> bytes:
        kind, _, digest = str(descriptor["digest"]).partition(":")
        content = (tmp_path / "layout/blobs" / kind / digest).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert len(content) == descriptor["size"]
        return content

    (found,) = msgspec.json.decode((tmp_path / "layout/index.json").read_bytes())["manifests"]
    manifest = msgspec.json.decode(blob(found))
    assert blob(manifest["config"]) == small.config
    assert gzip.decompress(blob(manifest["layers"][0])) == small.layers[0].tar.read_bytes()


def test_few_archives_of_one_image_are_kept(small: Image, empty_cache: Path) -> None:
    images = [Image(small.name, small.layers, ("hello", str(number))) for number in range(5)]
    paths = [docker_archive(image) for image in images]
    os.utime(paths[2], (1, 1))
    assert docker_archive(images[4]) == paths[4]
    assert paths[4].exists()
    assert len(list(empty_cache.glob("small-1-*.tar"))) == 3


def test_the_folder_for_a_containerfile_is_all_layers_over_one_another(small: Image, tmp_path: Path) -> None:
    upper = layer("upper", "key", lambda root: (root / "hello").write_text("later\n"))
    write_root(Image(small.name, (*small.layers, upper), ()), tmp_path / "root")
    assert (tmp_path / "root/hello").read_text() == "later\n"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("usr/bin/python3.11", True),
        ("usr/lib/python3.11/ssl.py", True),
        ("lib/x86_64-linux-gnu/libc.so.6", True),
        ("usr/share/doc/libssl3/copyright", True),
        ("usr/lib/python3.11/test/test_ssl.py", False),
        ("usr/bin/openssl", False),
        ("bin/tar", False),
        ("usr/share/doc/perl-base/copyright", False),
    ],
)
def test_what_is_taken_of_debian(name: str, kept: bool) -> None:
    assert is_kept(name) is kept


def test_the_containerfile_makes_the_same_image() -> None:
    text = (ROOT / "images" / "Containerfile").read_text()
    assert f"ARG VERSION={VERSION}\n" in text
    assert f"USER {USER}\n" in text
    assert f"ENV HOME=/tmp PATH={PATH}\n" in text
    assert 'CMD ["fleet", "--help"]' in text
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases == ["${DEBIAN}", "scratch"]
    assert not re.search(r"[a-z]\.[a-z]+/", text), "it names a registry's host"


def test_bad_words_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version", "1.0"]) == 2
    assert "'1.0' is not a valid agent version" in capsys.readouterr().err


def test_a_missing_tool_is_named(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(empty_cache))
    assert main([]) == 4
    assert "apt-get install mmdebstrap" in capsys.readouterr().err


def test_a_layer_knows_its_digest(small: Image) -> None:
    (only,) = small.layers
    assert only == Layer(only.root, only.tar, hashlib.sha256(only.tar.read_bytes()).hexdigest())
