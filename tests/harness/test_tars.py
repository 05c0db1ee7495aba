from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness.images.tars import extract


def archive(*names: str) -> tarfile.TarFile:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    data.seek(0)
    return tarfile.open(fileobj=data)


@pytest.fixture(params=["filters", "no filters"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Function: this Python, and as it was before 3.11.4."""
    if request.param == "no filters":
        monkeypatch.delattr(tarfile, "tar_filter", raising=False)


@pytest.mark.usefixtures("python")
def test_members_are_written_below_the_folder(tmp_path: Path) -> None:
    extract(archive("a/b", "/c"), tmp_path)
    assert (tmp_path / "a/b").read_bytes() == (tmp_path / "c").read_bytes() == b"x"


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_a_member_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(tarfile.TarError):
        extract(archive(name), tmp_path / "folder")
    assert not (tmp_path / "x").exists()


def test_the_oldest_python_here_can_load_an_image(tmp_path: Path) -> None:
    """Debian 12 has Python 3.11.2. Its packages fit those of this environment: both are 3.11."""
    debians = Path("/usr/bin/python3.11")
    python = str(debians) if debians.exists() and sys.version_info[:2] == (3, 11) else sys.executable
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(__file__, "test.py")
    code = "import sys, tarfile, pathlib; from harness.images.tars import extract\n"
    code += "extract(tarfile.open(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    argv = [python, "-c", code, str(tmp_path / "a.tar"), str(tmp_path / "out")]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "test.py").exists()
