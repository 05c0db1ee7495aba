"""Grammars of texts in words: a person is told what a text is to be, and not by a regular expression."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args

import msgspec

from fleet.contract.confinement import (
    CAPABILITIES,
    SIGNALS,
    ULIMITS,
    Address,
    Capability,
    ContainerHostName,
    HostAddress,
    HostName,
    Permissions,
    Platform,
    SecurityOption,
    Signal,
    UlimitName,
    User,
)
from fleet.contract.mounts import FileMode, OptionalPath, Path, Source
from fleet.contract.pod import ContainerName
from fleet.contract.policy import DevicePattern
from fleet.contract.sealed import OptionalSecretName, SecretKey, SecretName
from fleet.contract.selector import LabelKey, LabelValue
from fleet.contract.volumes import Former, VolumeName
from fleet.contract.workload import Argument, EnvName

NatsUrl = Annotated[str, msgspec.Meta(pattern=r"^(tls://[^:/]+:\d+)?$")]
"""Where devices reach NATS; empty where that is said elsewhere."""
_NAME_IN_LABEL = "letters and digits, with '-', '_' and '.' between them"
_WORDS: tuple[tuple[Any, str], ...] = (
    (Path, "an absolute path without '.', '..' and ':'"),
    (OptionalPath, "an absolute path without '.', '..' and ':'"),
    (Source, "the name of a volume, or an absolute path without '.', '..' and ':'"),
    (FileMode, "a mode as 0400"),
    (SecretName, "the name of a Secret: lower-case letters, digits, '-' and '.'"),
    (OptionalSecretName, "the name of a Secret: lower-case letters, digits, '-' and '.'"),
    (SecretKey, "a key of a Secret: letters, digits, '-', '_' and '.'"),
    (EnvName, "a variable's name: letters, digits, '-', '_' and '.', and no digit first"),
    (User, "USER[:GROUP], each a name or a number"),
    (HostName, "a host's name: letters and digits, with '-' and '.' between them"),
    (ContainerHostName, "a host's name of one part: letters and digits, with '-' between them"),
    (Address, "an IP address"),
    (HostAddress, "an IP address, or host-gateway"),
    (Signal, f"a signal, one of {SIGNALS}"),
    (Platform, "OS/ARCH, as linux/arm64"),
    (Capability, f"a capability without CAP_, one of {CAPABILITIES}"),
    (SecurityOption, "no-new-privileges, seccomp=unconfined, apparmor=PROFILE or label=VALUE"),
    (UlimitName, f"a limit, one of {ULIMITS}"),
    (Permissions, "permissions as r, rw or rwm"),
    (DevicePattern, "device nodes as /dev/ttyUSB*"),
    (ContainerName, "a name of at most 63 lower-case letters and digits, with '-' between them"),
    (Argument, "a text without a zero byte"),
    (VolumeName, "a volume's name: letters and digits, with '-', '_' and '.' after the first"),
    (Former, "DEVICE@SERVER"),
    (NatsUrl, "tls://HOST:PORT"),
    (LabelKey, f"[PREFIX/]NAME, a name of {_NAME_IN_LABEL}"),
    (LabelValue, _NAME_IN_LABEL),
)


def _pattern(kind: Any) -> str:  # noqa: ANN401 - an annotated type
    (pattern,) = [it.pattern for it in get_args(kind) if isinstance(it, msgspec.Meta) and it.pattern]
    return f"`str` matching regex {pattern!r}"


_BY_PATTERN = {_pattern(kind): words for kind, words in _WORDS}
_ANY_PATTERN = re.compile(r"""`str` matching regex (?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


def validation_words(error: Exception) -> str:
    """What an error of msgspec says, with grammars in words; one that has none here is a text of another form."""
    return _ANY_PATTERN.sub(lambda found: _BY_PATTERN.get(found[0], "a text of another form"), str(error))
