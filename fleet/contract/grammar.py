"""Words for grammars: a message describes the text that is expected, and shows no regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable
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


def _many(number: str, unit: tuple[str, str]) -> str:
    return f"{number} {unit[number != '1']}"


_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bytes": "a text in base64",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "datetime": "a time",
}
_GOT = _TYPES | {"float": "a decimal number"}
_UNITS = {"str": ("character", "characters"), "bytes": ("byte", "bytes")}
_ENTRIES = ("entry", "entries")
_BOUNDS = {"<=": "of at most", ">=": "of at least", "<": "below", ">": "above"}
_TYPE = re.compile(rf"(?<=Expected )`({'|'.join(_TYPES)}|[|a-z ]+ \| [|a-z ]+)`|(?<=, got )`({'|'.join(_TYPES)})`")
_END = r"(?= - at [`]|\Z)"
_PHRASES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (
        r"`(str|bytes|array|object)` of length (<=|>=) (\d+)",
        lambda it: f"{_TYPES[it[1]]} {_BOUNDS[it[2]]} {_many(it[3], _UNITS.get(it[1], _ENTRIES))}",
    ),
    (r"`array` of (at least|at most) length (\d+)", lambda it: f"a list of {it[1]} {_many(it[2], _ENTRIES)}"),
    (r"`array` of length (\d+(?: to \d+)?)", lambda it: f"a list of {_many(it[1], _ENTRIES)}"),
    (r"`(int|float)` (<=|>=|<|>) (\S+)", lambda it: f"{_TYPES[it[1]]} {_BOUNDS[it[2]]} {it[3]}"),
    (r"`int` that's a multiple of", lambda _: "a multiple of"),
    (r"\AObject missing required field (`.*?`)" + _END, lambda it: f"the field {it[1]} is missing"),
    (r"\AObject contains unknown field (`.*?`)" + _END, lambda it: f"it has the unknown field {it[1]}"),
    (r"\AInvalid (?:enum )?value (.+?)" + _END, lambda it: f"{it[1]} is none of the values that it can have"),
    (r"\A(?:Integer value|Number) out of range", lambda _: "the number is out of range"),
    (r"\AJSON is malformed:", lambda _: "it is not JSON:"),
    (r"\AInput data was truncated", lambda _: "it ends too early"),
)
"""What msgspec 0.22 says, with the names of types in it, and the same for a person."""


def validation_words(error: Exception) -> str:
    """What an error of msgspec or `json` says of a value, in words; the place that it names stays as it is.

    A grammar that has no words here is a text of another form.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8, from byte {error.start + 1} on"
    text = _ANY_PATTERN.sub(lambda found: _BY_PATTERN.get(found[0], "a text of another form"), str(error))
    for pattern, words in _PHRASES:
        text = re.sub(pattern, words, text)
    return _TYPE.sub(lambda it: _GOT[it[2]] if it[2] else _either(it[1]), text)


def _either(types: str) -> str:
    return " or ".join(_TYPES.get(one, one) for one in types.split(" | "))
