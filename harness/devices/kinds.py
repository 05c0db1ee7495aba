"""What each kind of device can do, known before there is one: a scenario that asks for more is refused early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.devices import Disconnectable, HasClock, HasConsole, HasEngine, Killable, Pausable

CAPABILITIES: Mapping[str, tuple[type, ...]] = {
    "process": (Killable, Pausable, HasEngine),
    "libvirt": (Killable, Pausable, HasEngine, HasClock, Disconnectable, HasConsole),
    "pi": (HasEngine, HasClock),
}
"""By the kind, in the words of the markers."""
_WORDS: Mapping[type, str] = {
    Killable: "a device whose power and agent can be cut",
    Pausable: "a device that can be frozen",
    HasEngine: "a device whose container engine can be asked from here",
    HasClock: "a device with a clock of its own",
    Disconnectable: "a device whose network can be cut",
    HasConsole: "a device whose serial console is written down",
}


def refusals(
    kinds: Iterable[str],
    protocols: Mapping[str, Sequence[type]],
    can: Mapping[str, Sequence[type]] = CAPABILITIES,
) -> list[str]:
    """A sentence for each scenario, by its id, that asks for what a kind of device cannot do, given what each can."""
    return [
        f"{scenario} needs {_WORDS[capability]}, and a {kind} device is none"
        for kind in sorted(kinds)
        for scenario, capabilities in protocols.items()
        for capability in capabilities
        if capability not in can[kind]
    ]
