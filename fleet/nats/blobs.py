"""What is kept in NATS by a subject each, and never changes: pieces of files, read by direct gets as a device may.

This is not the object store of the clients: its readers need a consumer, and who may create one can read all.
"""

from __future__ import annotations

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from fleet.contract.errors import FleetError
from fleet.nats.cancellation import keep_cancellation
from fleet.nats.kv import lost, translated

_ALREADY_THERE = "maximum messages per subject exceeded"
"""What nats-server says of a subject that holds its message (JSStreamStoreFailed, which has no code of its own)."""


class Blobs:
    """One stream of them."""

    def __init__(self, js: JetStreamContext, stream: str) -> None:
        self._js = js
        self._stream = stream

    async def get(self, subject: str) -> bytes | None:
        """What is kept there, or None.

        Raises:
            FleetError: the server did not answer.
        """
        try:
            with keep_cancellation():
                message = await self._js.get_msg(self._stream, subject=subject, direct=True)
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"read {subject}", error) from error
        return message.data or b""

    async def put(self, subject: str, data: bytes) -> bool:
        """Keep `data` there; False when something is kept there already, which then stays.

        Raises:
            FleetError: not acknowledged.
        """
        try:
            await translated(self._js.publish(subject, data), f"write {subject}")
        except FleetError as error:
            if _ALREADY_THERE not in error.what:
                raise
            return False
        return True

    async def subjects(self, pattern: str) -> list[str]:
        """Where something is kept. For the control plane.

        Raises:
            FleetError: the server did not answer.
        """
        info = await translated(self._js.stream_info(self._stream, subjects_filter=pattern), f"list {pattern}")
        return sorted(info.state.subjects or {})

    async def remove(self, pattern: str) -> None:
        """Forget what is kept there. For the control plane.

        Raises:
            FleetError: the server did not answer.
        """
        await translated(self._js.purge_stream(self._stream, subject=pattern), f"remove {pattern}")
