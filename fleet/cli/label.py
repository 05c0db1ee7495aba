"""`fleet device label`, and labels as options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fleet.cli.context import DeviceArgument, NamespaceOption, cluster, installed, pairs, read
from fleet.cli.output import Output, OutputOption, answer
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import Conflict, InvalidInput
from fleet.contract.labels import labels_of, relabelled
from fleet.contract.names import DeviceId
from fleet.contract.objects import Device, DeviceSpec
from fleet.contract.selector import Selector, parse_selector
from fleet.contract.wire import from_builtins

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

SelectorOption = Annotated[
    str | None,
    typer.Option(
        "--selector", "-l", metavar="SELECTOR", help="only those with such labels: site=lab,ring!=a,room in (a,b),!old"
    ),
]
_ATTEMPTS = 10
"""Each attempt reads the object again, because another client wrote in between: for example the operator a status."""


def label(
    device: DeviceArgument,
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE|KEY-...", help="set a label, or take one away")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="also a label that has another value")] = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set and take away a device's labels, by which deployments select it. `kubectl label device` does the same.

    \b
    Examples:
      fleet device label pi-1 ring=early site=lab
      fleet device label pi-1 ring=late --overwrite
      fleet device label pi-1 ring-
    """  # noqa: D301
    name = DeviceId(device)
    gone = {word[:-1] for word in changes if word.endswith("-") and "=" not in word}
    given = parse_labels("labels", [word for word in changes if word[:-1] not in gone or "=" in word])
    parse_labels("labels", [f"{key}=" for key in gone])
    if both := gone & given.keys():
        raise InvalidInput(f"{min(both)} is set and taken away", next_step="leave one of them out")
    kube = cluster()
    installed(kube, namespace)
    before, after = _relabel(kube, name, namespace, _Change(given, frozenset(gone), overwrite))
    value = {"device": str(name), "changed": after != before, "labels": dict(after)}
    what = "labels changed" if after != before else "nothing changed"
    answer(output, value, f"{name}: {what}; {listed(after)}")


class _Change(NamedTuple):
    given: Mapping[str, str]
    gone: frozenset[str]
    overwrite: bool

    def of(self, name: DeviceId, before: Mapping[str, str]) -> Mapping[str, str]:
        """The labels afterwards.

        Raises:
            Conflict: one has another value, and nothing was said of overwriting.
        """
        for key, value in self.given.items():
            if not self.overwrite and before.get(key, value) != value:
                raise Conflict(
                    f"{name} has {key}={before[key]} already",
                    next_step="give --overwrite to replace it by another value",
                )
        return {key: value for key, value in {**before, **self.given}.items() if key not in self.gone}


def _relabel(
    kube: KubeClient, name: DeviceId, namespace: str, change: _Change
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The labels before, and after; no change in between is lost."""
    from fleet.kube.refusals import Outdated  # noqa: PLC0415

    left = _ATTEMPTS
    while True:
        item = read(kube, Device, name, namespace)
        before = labels_of(item)
        after = change.of(name, before)
        left -= 1
        try:
            if patch := relabelled(item, after):
                meta = {**patch, "resourceVersion": item.metadata.resource_version}
                kube.patch("Device", name, namespace, {"metadata": meta})
        except Outdated:
            if not left:
                raise
        else:
            return before, after


def parse_labels(option: str, words: Sequence[str]) -> dict[str, str]:
    """Parse `KEY=VALUE` words as Kubernetes' labels.

    Raises:
        InvalidInput: one is none; the message names the option.
    """
    labels = pairs(option, words)
    try:
        return from_builtins({"labels": labels}, DeviceSpec).labels
    except InvalidInput as error:
        raise InvalidInput(
            f"{option}: {error.what}",
            next_step="a key is [PREFIX/]NAME, a name and a value have up to 63 of A-Z, a-z, 0-9, '-', '_' and '.'",
        ) from error


def parse_filter(text: str | None) -> Selector:
    """What `--selector` leaves; without one, all. An empty text is no selector: a script's variable was not set."""
    return Selector() if text is None else parse_selector("--selector", text)


def listed(labels: Mapping[str, str]) -> str:
    """Labels on one line."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "-"
