"""What the ConfigMap of an installed server says; a person may have written into it, so that it may say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import SERVER_CONFIG_MAP, ServerInfo
from fleet.contract.wire import decode

T = TypeVar("T", bound=msgspec.Struct)
SERVER_INFO_KEY, INSTALL_KEY = "server.json", "install.json"
"""The keys of its data: a `ServerInfo`, and what the next install and rotations need to know of the last one."""


def server_info(config_map: Mapping[str, Any]) -> ServerInfo:
    """The server that is announced.

    Raises:
        InvalidInput: the ConfigMap says none.
    """
    return announced(config_map, SERVER_INFO_KEY, ServerInfo)


def announced(config_map: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """What the ConfigMap says under a key.

    Raises:
        InvalidInput: nothing of this kind.
    """
    text = text_of(config_map, key)
    try:
        if text:
            return decode(text.encode(), kind)
        why = "it is not there"
    except InvalidInput as error:
        why = error.what.partition(": ")[2]
    raise InvalidInput(
        f"somebody has changed the ConfigMap {SERVER_CONFIG_MAP}, so the server is not known; {key}: {why}",
        next_step=f"kubectl delete configmap {SERVER_CONFIG_MAP}, in its namespace; then `fleet server install` with "
        "the options of the last install writes it anew",
    )


def text_of(item: Mapping[str, Any], key: str) -> str:
    """What a ConfigMap, or a Secret in base64, has under a key; nothing where somebody has taken it away."""
    data: Mapping[str, str] = item.get("data") or {}
    return data.get(key, "")
