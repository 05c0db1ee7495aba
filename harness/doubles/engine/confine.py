"""What a container of the double finds and may do: mounts, its name, its user, capabilities and limits.

Part of the shim, which runs without imports beyond the standard library.
"""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Any

NEWNS, NEWUTS = 0x00020000, 0x04000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_CAPBSET_DROP, _NO_NEW_PRIVS = 24, 38
_libc = ctypes.CDLL(None, use_errno=True)
_ALL_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_ORDINARY_NAMES = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID
SYS_CHROOT
"""
_CAPABILITIES: list[str] = [*_ALL_NAMES.split()]
"""By number (linux/capability.h)."""
_ORDINARY: set[str] = {*_ORDINARY_NAMES.split()}
"""Of every container (moby, `oci/caps/defaults.go`)."""

Spec = dict[str, Any]


def furnish(spec: Spec) -> None:
    """In a mount namespace and a name space of the container's own: mount what it is to find below its root.

    Raises:
        OSError: something could not be mounted.
    """
    root = spec["root"]
    _libc.sethostname(spec["hostname"].encode(), len(spec["hostname"]))
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount(root, root, None, _BIND)
    _tmpfs(_folder(root, "/dev/shm"), spec["shm"])  # noqa: S108 - the container's own
    for mount in spec["mounts"]:
        if mount["type"] == "tmpfs":
            _tmpfs(_folder(root, mount["target"]), mount["size"])
            continue
        is_folder = os.path.isdir(mount["source"])
        target = _folder(root, mount["target"]) if is_folder else _file(root, mount["target"])
        _mount(mount["source"], target, None, _BIND)
        if mount["read_only"]:
            _mount(None, target, None, _BIND | _REMOUNT | _RDONLY)
    _folder(root, spec["folder"])
    _folder(root, "/proc")
    if spec["read_only"]:
        _mount(None, root, None, _BIND | _REMOUNT | _RDONLY)


def enter(spec: Spec) -> None:
    """Become a process of the container: in its root and folder, as its user, with what that may do."""
    os.chroot(spec["root"])
    os.chdir(spec["folder"])
    for name, soft, hard in spec["ulimits"]:
        number = getattr(resource, f"RLIMIT_{name.upper()}")
        resource.setrlimit(number, (soft, hard))
    user, group = _identity(spec["user"])
    if not spec["privileged"]:
        kept = _kept(spec["cap_add"], spec["cap_drop"])
        for number, name in enumerate(_CAPABILITIES):
            if name not in kept:
                _libc.prctl(_CAPBSET_DROP, number, 0, 0, 0)
    if "no-new-privileges" in spec["security"]:
        _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if (user, group) != (0, 0):
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)


def mount_processes(spec: Spec) -> None:
    """From within the container's pid namespace: its own /proc, where the kernel lets us."""
    _libc.mount(b"proc", f"{spec['root']}/proc".encode(), b"proc", 0, None)


def _kept(added: list[str], dropped: list[str]) -> set[str]:
    kept = set[str]() if "ALL" in dropped else _ORDINARY - set(dropped)
    return set(_CAPABILITIES) - set(dropped) if "ALL" in added else kept | set(added)


def _identity(user: str) -> tuple[int, int]:
    """The numbers of a user and its group; names are those of the container's /etc/passwd and /etc/group."""
    name, _, group = user.partition(":")
    uid, gid = (0, 0) if not name else _number("/etc/passwd", name)
    return uid, _number("/etc/group", group)[0] if group else gid


def _number(file: str, name: str) -> tuple[int, int]:
    if name.isdigit():
        return int(name), 0
    with open(file) as lines:
        for line in lines:
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2]), int(fields[3]) if file.endswith("passwd") else 0
    raise OSError(2, f"unable to find user {name}: no matching entries in passwd file")


def _folder(root: str, path: str) -> str:
    whole = os.path.join(root, path.lstrip("/"))
    os.makedirs(whole, exist_ok=True)
    return whole


def _file(root: str, path: str) -> str:
    whole = os.path.join(root, path.lstrip("/"))
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    os.close(os.open(whole, os.O_WRONLY | os.O_CREAT, 0o644))
    return whole


def _tmpfs(target: str, size: int) -> None:
    options = f"size={size}" if size else ""
    _mount("tmpfs", target, "tmpfs", 0, options)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    words = [word.encode() if word else None for word in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
