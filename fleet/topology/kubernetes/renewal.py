"""What a rotation may change of a server: the files of its pods, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.contract.errors import Conflict
from fleet.topology.capabilities import Preview
from fleet.topology.kubernetes.pods import DIGEST


def require_only_files(seen: Sequence[Preview]) -> None:
    """See that nothing but the pods' files would change: the announcement must not change anything else.

    Raises:
        Conflict: something else would. Otherwise a user who may write the announcement could choose the pods' image.
    """
    digest = f"spec.template.metadata.annotations.{DIGEST}:"
    others = [
        f"{item.name}: would {item.action} {field}".rstrip()
        for item in seen
        if item.action != "keep" and not item.name.startswith("Secret ")
        for field in item.fields or ("",)
        if not field.startswith(digest)
    ]
    if others:
        raise Conflict(
            "the server does not run as its announcement says",
            next_step="run `fleet server install` with the options that it is to have, then repeat",
            more=others,
        )
