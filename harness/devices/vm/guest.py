"""The guest: Debian with systemd, sshd, sudo and podman, as a disk without boot loader beside its kernel and initrd.

Built once for what it depends on, and kept in a cache; one of another architecture is built by QEMU's user emulation.
Its host key is made with it; one SSH key of the user enters all guests. Neither leaves this machine. `localhost` is the
host's: in QEMU's user network 10.0.2.2 is the host's loopback, and the certificates of an embedded world are good for
`localhost` only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec

from fleet.process.user_folders import user_cache
from harness.errors import BuildFailed, TargetUnavailable

SUITE, PYTHON = "bookworm", "3.11"
"""The release of Debian, and the version of Python in it."""
USER = "pi"
_PACKAGES = (
    "ca-certificates",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "iptables",
    "openssh-server",
    "podman",
    "podman-docker",
    "python3",
    "sudo",
    "systemd-sysv",
    "udev",
)


class _Architecture(msgspec.Struct, frozen=True):
    """What a guest is made of on one architecture: Debian's name of it, and the packages that only it has."""

    debian: str
    packages: tuple[str, ...]


_ARCHITECTURES = {
    "x86_64": _Architecture("amd64", ("linux-image-cloud-amd64",)),
    # The image that tests run is made of the board's own busybox.
    "aarch64": _Architecture("arm64", ("busybox-static", "linux-image-cloud-arm64")),
}
"""By the kernel's name (`uname -m`)."""
_FOREIGN = """\
folder=/proc/sys/fs/binfmt_misc
mount -t binfmt_misc binfmt_misc $folder
[ -e $folder/qemu-"$0" ] || cat /usr/lib/binfmt.d/qemu-"$0".conf > $folder/register
exec "$@"
"""
"""The kernel starts programs of another architecture by QEMU (its documentation, "binfmt-misc"), until a reboot."""
_REPLACEMENTS = "/opt/packages"
"""Packages as files, by which an upgrade of the machine's own packages is played without a network."""
_REPLACED = ("conmon", "podman")
_FETCH_REPLACEMENTS = f"mkdir {_REPLACEMENTS} && cd {_REPLACEMENTS} && apt-get download -qq {' '.join(_REPLACED)}"
_DISK = "3G"
_FILES = {
    "etc/hosts": "10.0.2.2 localhost\n",
    "etc/hostname": "pi\n",
    "etc/fstab": "/dev/vda / ext4 rw,discard 0 1\n",
    "etc/sudoers.d/pi": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/systemd/system/lan.service": """\
[Unit]
Description=The address that QEMU's user network gives
Wants=network.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set eth0 up
ExecStart=ip address add 10.0.2.15/24 dev eth0
ExecStart=ip route add default via 10.0.2.2
[Install]
WantedBy=multi-user.target
""",
    "etc/modules-load.d/bridge.conf": "bridge\noverlay\n",
    "etc/containers/nodocker": "",
    # The user may ask the engine, as on a board whose user is in the group docker.
    "etc/systemd/system/podman.socket.d/user.conf": f"[Socket]\nSocketGroup={USER}\nDirectoryMode=0755\n",
    # Beside podman's own file, which one of the same name would hide: it removes the leases of addresses at a boot, and
    # no container starts whose address is still leased. Of two lines for one path the first file's counts.
    "etc/tmpfiles.d/fleet-podman.conf": "D! /run/podman 0755 root root\n",
}
_UNITS = ("ssh.service", "lan.service", "podman.socket")
_UNUSED = (
    *(
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dpkg-db-backup.timer",
        "e2scrub_all.timer",
        "e2scrub_reap.service",
    ),
    *("fstrim.timer", "getty@tty1.service", "systemd-update-utmp.service", "systemd-binfmt.service"),
    *("podman-auto-update.service", "podman-auto-update.timer", "podman-restart.service"),
)


class Guest(msgspec.Struct, frozen=True):
    """The files of a built guest: a raw disk to lay an overlay on, what boots it, and how to log in as `pi`."""

    disk: Path
    kernel: Path
    initrd: Path
    key: Path
    host_key: str

    def known_as(self, port: int) -> bytes:
        """The line of a `known_hosts` (sshd(8)) for its SSH at a port of this machine."""
        kind, key, *_ = self.host_key.split()
        return f"[127.0.0.1]:{port} {kind} {key}\n".encode()


def guest(architecture: str = "x86_64") -> Guest:
    """The guest from the cache, or built: a few minutes, as root; by emulation some ten minutes.

    Raises:
        TargetUnavailable: this machine lacks a program or the rights for it.
        BuildFailed: a program failed; the message holds its last words.
    """
    cache = user_cache() / "fleet" / "guests"
    key = cache / "login" / "id_ed25519"
    if not key.exists():
        _need_programs(architecture)
        _make_login(key)
    public = key.with_suffix(".pub").read_bytes()
    folder = cache / hashlib.sha256(architecture.encode() + Path(__file__).read_bytes() + public).hexdigest()[:16]
    if not folder.is_dir():
        _need_programs(architecture)
        builder = _Builder(architecture, public)
        packages = builder.fetch(cache)
        with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as scratch:
            builder.build(packages, Path(scratch))
            built = Path(scratch) / "made"
            built.rename(folder)
    host_key = (folder / "host_key.pub").read_text().strip()
    return Guest(folder / "disk.raw", folder / "vmlinuz", folder / "initrd", key, host_key)


def _make_login(key: Path) -> None:
    cache = key.parent.parent
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as scratch:
        login = Path(scratch) / "login"
        login.mkdir(mode=0o700)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(login / key.name))
        try:
            login.rename(key.parent)
        except OSError:
            if not key.exists():  # else another worker's was there first
                raise


def _need_programs(architecture: str) -> None:
    programs = ["mmdebstrap", "mke2fs", "chroot", "ssh-keygen"]
    if architecture != os.uname().machine:
        programs += ["arch-test", f"qemu-{architecture}-static"]
    missing = [program for program in programs if shutil.which(program) is None]
    if missing or os.getuid():
        raise TargetUnavailable(
            f"a guest cannot be built: {', '.join(missing) or 'only root can'}",
            next_step="apt-get install mmdebstrap e2fsprogs openssh-client, for another architecture arch-test and "
            "qemu-user-static, too, and run as root",
        )


class _Builder:
    """Makes guests of one architecture."""

    def __init__(self, architecture: str, login: bytes) -> None:
        self._login = login
        self._made_of = _ARCHITECTURES[architecture]
        foreign = architecture != os.uname().machine
        self._prefix = ("unshare", "--mount", "sh", "-ec", _FOREIGN, architecture) if foreign else ()

    def fetch(self, cache: Path) -> Path:
        """Debian's packages, unpacked into a tar."""
        names = sorted((*_PACKAGES, *self._made_of.packages))
        digest = hashlib.sha256(" ".join([SUITE, *names, _FETCH_REPLACEMENTS]).encode()).hexdigest()[:16]
        packages = cache / f"packages-{digest}.tar"
        if not packages.exists():
            partial = packages.with_suffix(".partial.tar")
            replacements = f"--customize-hook=chroot \"$1\" sh -c '{_FETCH_REPLACEMENTS}'"
            options = (f"--arch={self._made_of.debian}", "--variant=minbase", f"--include={','.join(names)}")
            self._run("mmdebstrap", *options, replacements, SUITE, str(partial))
            partial.rename(packages)
        return packages

    def build(self, packages: Path, scratch: Path) -> None:
        """Make the files of a guest, in the folder `made`."""
        root, made = scratch / "root", scratch / "made"
        made.mkdir()
        root.mkdir()
        self._run("tar", "--extract", "--numeric-owner", f"--file={packages}", f"--directory={root}")
        self._settle(root, made)
        for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
            (kernel,) = (root / "boot").glob(pattern)
            shutil.copyfile(kernel, made / name)
        self._run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(made / "disk.raw"), _DISK)

    def _settle(self, root: Path, made: Path) -> None:
        for name, text in _FILES.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (root / "etc/sudoers.d/pi").chmod(0o440)
        self._run("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/sh", USER)
        self._run("chroot", str(root), "systemctl", "enable", *_UNITS)
        self._run("chroot", str(root), "systemctl", "mask", *_UNUSED)
        for key in (root / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / "etc/ssh/ssh_host_ed25519_key"))
        shutil.copyfile(root / "etc/ssh/ssh_host_ed25519_key.pub", made / "host_key.pub")
        authorized = root / "home" / USER / ".ssh" / "authorized_keys"
        authorized.parent.mkdir(mode=0o700)
        authorized.write_bytes(self._login)
        self._run("chroot", str(root), "chown", "-R", f"{USER}:{USER}", f"/home/{USER}/.ssh")

    def _run(self, *argv: str) -> None:
        _run(*self._prefix, *argv)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise BuildFailed(
            f"the guest was not built: {' '.join(argv[:4])} ...\n{last}", next_step="is the mirror there?"
        )
