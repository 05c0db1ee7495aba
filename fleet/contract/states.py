"""What a device reports of its deployments: one value, of which each entry is read by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.grammar import validation_words
from fleet.contract.limits import MAX_DEPLOYMENTS, IndexKey, fit
from fleet.contract.names import DeploymentName
from fleet.contract.parsing import NOT_JSON, any_json
from fleet.contract.wire import DeviceState, encode, from_builtins

LARGEST = 60 * 1024
"""Bytes of the value: what a device may send in a message (`permissions.MAX_PAYLOAD`), with room for headers."""
_SHORTER = ((1024, True), (200, True), (200, False), (60, False), (0, False))
"""Characters of each message, and whether the containers of pods are included, tried in turn until the value fits."""
_FRAME = len('{"type":"states","states":{}}')
_TAG = b'"type":"state",'

Entries = dict[str, msgspec.Raw]


class DeviceStates(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="states"):
    """`device-state` `<device>`: a `DeviceState`, without its tag, of each deployment.

    An entry that a reader does not understand, such as one of a newer agent, costs none of the others.
    """

    states: Annotated[dict[IndexKey, msgspec.Raw], msgspec.Meta(max_length=MAX_DEPLOYMENTS)] = {}


def entry(state: DeviceState) -> msgspec.Raw:
    """A state as it stands in the value."""
    return msgspec.Raw(encode(state).replace(_TAG, b"", 1))


def gathered(states: Mapping[str, DeviceState]) -> DeviceStates:
    """One value of all states, small enough to be sent: messages are cut first, and then all that is for people only.

    Whatever does not fit even so is left out, the last ones first.
    """
    for longest, whole in _SHORTER:
        value = DeviceStates(dict(list(_entries(states, longest, whole=whole).items())[:MAX_DEPLOYMENTS]))
        if _size(value) <= LARGEST:
            return value
    bare = {
        name: DeviceState(state.generation, state.phase, state.reason, secrets=state.secrets)
        for name, state in list(states.items())[:MAX_DEPLOYMENTS]
    }
    kept, size = Entries(), _FRAME
    for name, raw in _entries(bare, 0, whole=False).items():
        size += len(msgspec.json.encode(name)) + len(bytes(raw)) + 2
        if size > LARGEST:
            break
        kept[name] = raw
    return DeviceStates(kept)


def fitted(value: DeviceStates) -> DeviceStates:
    """The value, or one that is small enough to be sent, without what cannot be read."""
    if _size(value) <= LARGEST and len(value.states) <= MAX_DEPLOYMENTS:
        return value
    known: dict[str, DeviceState] = {}
    for name, raw in value.states.items():
        with contextlib.suppress(InvalidInput):
            known[name] = read_state(name, raw)
    return gathered(known)


def _entries(states: Mapping[str, DeviceState], longest: int, *, whole: bool) -> Entries:
    return {name: entry(_shortened(state, longest, whole=whole)) for name, state in states.items()}


def _shortened(state: DeviceState, longest: int, *, whole: bool) -> DeviceState:
    containers = state.containers if whole else ()
    return msgspec.structs.replace(state, message=state.message[:longest], containers=containers)


def _size(value: DeviceStates) -> int:
    return len(encode(value))


def read_state(name: str, raw: msgspec.Raw) -> DeviceState:
    """One entry.

    Raises:
        InvalidInput: the name cannot be a deployment's, or the entry is no state.
    """
    DeploymentName(name)
    try:
        found = any_json(bytes(raw))
    except NOT_JSON as error:
        why = validation_words(error)
        raise InvalidInput(f"not a valid DeviceState: {why}", next_step="see what writes as this device") from error
    return from_builtins(fit(found, DeviceState), DeviceState)


def state_of(value: DeviceStates | None, deployment: str) -> DeviceState | None:
    """What a device says of one deployment; None when it says nothing.

    Raises:
        InvalidInput: as `read_state`.
    """
    raw = value.states.get(deployment) if value is not None else None
    return None if raw is None else read_state(deployment, raw)
