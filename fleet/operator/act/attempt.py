"""One write to Kubernetes that waits for the API server and for a permission, and is given up for any other reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fleet.contract.errors import NotPermitted, Unreachable, why
from fleet.kube.errors import ServerError
from fleet.operator.readiness import Readiness


async def attempt(
    write: Awaitable[None], readiness: Readiness, permission: str, given_up: Callable[[str], None]
) -> bool:
    """Whether the write is finished: False if it must be tried again.

    Args:
        write: What to do.
        readiness: Notified when the permission is missing, and when it is back.
        permission: What the operator must be allowed to do, in words.
        given_up: Takes why the write can never succeed.
    """
    try:
        await write
    except NotPermitted as error:
        readiness.wrong(permission, error.what)
        return False
    except (Unreachable, ServerError):
        return False
    except Exception as error:
        given_up(why(error))
    readiness.settled(permission)
    return True
