"""Other machines' Python, out of Debian's packages, in namespaces of its own: nothing of this machine changes.

Where the processor is another one, QEMU's user emulation runs every program of it (binfmt_misc, which a user namespace
has for itself since Linux 6.7).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from images.debian import fetch
from images.layers import digest_of, layer

_SCRIPT = """\
set -eu
root=$1 work=$2 emulator=$3
shift 3
if [ -n "$emulator" ]; then
  mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  magic='\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00'
  mask='\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff'
  printf ':arm64:M::%s:%s:%s:F' "$magic" "$mask" "$emulator" > /proc/sys/fs/binfmt_misc/register
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$work" "$root/mnt"
exec env -i PATH=/usr/bin:/usr/sbin HOME=/mnt SHIV_ROOT=/mnt/unpacked chroot "$root" python3 "$@"
"""


class Machine(NamedTuple):
    """A release of Debian, which decides the Python, for an architecture as Debian names it."""

    suite: str
    architecture: str

    def python(self, work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run its Python in the folder `work`, which it sees as `/mnt`."""
        argv = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
        argv += ["sh", "-c", _SCRIPT, "sh", str(self._root()), str(work), self._emulator(), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)

    def _root(self) -> Path:
        key = digest_of(Path(__file__).read_bytes(), *(word.encode() for word in self))
        return layer(f"python-{self.suite}-{self.architecture}", key, self._fill).root

    def _fill(self, root: Path) -> None:
        fetch(root, "base-files", "python3", "ca-certificates", suite=self.suite, architecture=self.architecture)
        for name in ("proc", "dev", "mnt"):
            (root / name).mkdir(exist_ok=True)

    def _emulator(self) -> str:
        if self.architecture == "amd64":
            return ""
        return str(layer("qemu-aarch64", digest_of(Path(__file__).read_bytes()), _fill_emulator).root / _EMULATOR.name)


_EMULATOR = Path("usr/bin/qemu-aarch64-static")


def _fill_emulator(root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        fetch(Path(folder), "qemu-user-static")
        shutil.copy(Path(folder) / _EMULATOR, root)
