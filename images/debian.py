"""The lowest layer: Python and what it is linked with, picked out of Debian's packages; no shell, no package manager.

`mmdebstrap` fetches the packages and checks their signatures against Debian's keys. Of their files only those named
here are taken, with each package's licence.
"""

from __future__ import annotations

import fnmatch
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from fleet.contract.errors import FleetError, NotFound
from images.layers import Layer, digest_of, layer

SUITE = "bookworm"
PYTHON = "/usr/bin/python3.11"
STDLIB = "usr/lib/python3.11"

_PACKAGES = {
    "libc6": (
        "lib*/ld-linux*",
        "lib/*/ld-linux*",
        *(
            f"lib/*/lib{name}.so.*"
            for name in ("c", "dl", "m", "nss_dns", "nss_files", "pthread", "resolv", "rt", "util")
        ),
    ),
    "libgcc-s1": ("lib/*/libgcc_s.so.*",),
    "libssl3": ("usr/lib/*/libssl.so.*", "usr/lib/*/libcrypto.so.*"),
    "zlib1g": ("lib/*/libz.so.*",),
    "libexpat1": ("lib/*/libexpat.so.*",),
    "libffi8": ("usr/lib/*/libffi.so.*",),
    "libbz2-1.0": ("lib/*/libbz2.so.*",),
    "liblzma5": ("lib/*/liblzma.so.*",),
    "libuuid1": ("lib/*/libuuid.so.*", "usr/lib/*/libuuid.so.*"),
    "libcrypt1": ("lib/*/libcrypt.so.*",),
    "python3.11-minimal": ("usr/bin/python3.11", f"{STDLIB}/*"),
    "libpython3.11-minimal": (),
    "libpython3.11-stdlib": (),
    "ca-certificates": ("usr/share/ca-certificates/mozilla/*",),
}
"""The packages that stay, and which of their files."""
_DROPPED = (
    *(
        f"{STDLIB}/{name}/*"
        for name in ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo")
    ),
    *(f"{STDLIB}/lib-dynload/{name}.*" for name in ("_dbm", "_gdbm", "_nis", "_sqlite3", "_tkinter", "readline")),
    *(f"{STDLIB}/lib-dynload/{name}.*" for name in ("_curses*", "_codecs_*", "_test*", "_xxtestfuzz", "xxlimited*")),
    "*/__pycache__/*",
)
"""Parts of the standard library that nothing of ours imports, and that would need more libraries."""
_FILES = {
    "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nfleet:x:65532:0:fleet:/tmp:/sbin/nologin\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def debian_layer() -> Layer:
    """The layer with Python.

    Raises:
        NotFound: there is no mmdebstrap.
        FleetError: it failed; the message holds what it said.
    """
    return layer("debian", digest_of(Path(__file__).read_bytes(), platform.machine().encode()), _fill)


def compile_python(debian: Layer, root: Path, folder: str) -> None:
    """Compile what is below `root/folder`, for a read-only root keeps no cache: by the image's own Python, in order.

    Raises:
        FleetError: a file does not compile.
    """
    libraries = ":".join(str(path) for part in ("lib", "usr/lib") for path in (debian.root / part).glob("*-linux-gnu*"))
    loader = next((debian.root / "lib").glob("*/ld-linux*"))
    python = [str(loader), "--library-path", libraries, f"{debian.root}{PYTHON}", "-S"]
    # Hashes in place of times: the same bytes every time, and never compared with the source again.
    argv = [*python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    argv += ["-s", str(root), "-p", "/", str(root / folder)]
    env = {"PYTHONHOME": f"{debian.root}/usr", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FleetError(
            f"the image's Python cannot compile {folder}:\n{done.stdout}{done.stderr}".rstrip(),
            next_step="correct the file that it names",
        )


def _fill(root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        packages = Path(scratch) / "packages.tar"
        fetch(packages, "python3.11-minimal", "libpython3.11-stdlib", "ca-certificates")
        with tarfile.open(packages) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if is_kept(name):
                    _extract(tar, member, root / name)
    for name, text in _FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    _trust(root)
    (root / "usr/bin/python3").symlink_to("python3.11")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    compile_python(Layer(root, root, ""), root, STDLIB)


def is_kept(name: str) -> bool:
    """Whether a file of a Debian package goes into the image."""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _DROPPED):
        return False
    licences = (f"usr/share/doc/{package}/copyright" for package in _PACKAGES)
    patterns = (pattern for patterns in _PACKAGES.values() for pattern in patterns)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in (*licences, *patterns))


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if member.isdir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        target.symlink_to(member.linkname)
        return
    content = tar.extractfile(member)
    if content is not None:
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
        target.chmod(member.mode)


def _trust(root: Path) -> None:
    """The authorities that Debian trusts, in the file that OpenSSL reads (what update-ca-certificates would write)."""
    kept = root / "usr/share/ca-certificates"
    bundle = "".join(path.read_text() for path in sorted(kept.rglob("*.crt")))
    shutil.rmtree(kept)
    certificates = root / "etc/ssl/certs"
    certificates.mkdir(parents=True)
    (certificates / "ca-certificates.crt").write_text(bundle)
    (root / "usr/lib/ssl").mkdir(parents=True)
    (root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")


def fetch(target: Path, *packages: str, suite: str = SUITE, architecture: str = "") -> None:
    """Unpack packages with all that they need into `target`, a folder or a tar, without running any of it.

    Raises:
        NotFound: there is no mmdebstrap.
        FleetError: it failed; the message holds what it said.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise NotFound("no mmdebstrap on this machine", next_step="apt-get install mmdebstrap")
    argv = [program, "--quiet", "--variant=extract", f"--include={','.join(packages)}"]
    argv += [f"--architectures={architecture}"] if architecture else []
    argv += ["--aptopt=Acquire::Languages none", suite, str(target), *_mirrors(suite)]
    done = subprocess.run(
        argv, env={**os.environ, "SOURCE_DATE_EPOCH": "0"}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise FleetError(
            f"mmdebstrap cannot fetch Debian's packages:\n{done.stderr.strip()}",
            next_step="does `apt-get update` work here? then run this again",
        )


def _mirrors(suite: str) -> list[str]:
    """This machine's own Debian mirrors, with security updates; without any, mmdebstrap takes Debian's."""
    argv = ["apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    try:
        told = subprocess.run([*argv, "Origin: Debian"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    ours = {line for line in told.stdout.splitlines() if line.split()[2].startswith(SUITE)}
    return sorted(line.replace(f" {SUITE}", f" {suite}") for line in ours)
