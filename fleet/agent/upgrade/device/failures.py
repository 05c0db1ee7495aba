"""What an effect of the upgrade that failed is called: foreseen by its own words, anything else by its type."""

from __future__ import annotations

import errno

import structlog

from fleet.agent.supervise import unforeseen
from fleet.artifacts.refusal import Refusal
from fleet.contract.errors import FleetError
from fleet.contract.upgrade import UpgradeReason

_log = structlog.stdlib.get_logger()

_ERRNOS = {
    errno.ENOSPC: UpgradeReason.NO_SPACE,
    errno.EDQUOT: UpgradeReason.NO_SPACE,
    errno.EROFS: UpgradeReason.READ_ONLY,
}


def log_failure(what: str, error: Exception, **about: object) -> None:
    """Log a failure, with a traceback if it is unexpected."""
    _log.error(what, why=words_of(error), exc_info=not isinstance(error, OSError | FleetError), **about)


def reason_of(error: Exception) -> UpgradeReason:
    """The reason to report."""
    match error:
        case Refusal():
            return error.reason
        case OSError():
            return _ERRNOS.get(error.errno or 0, UpgradeReason.DISK_ERROR)
        case _:
            return UpgradeReason.OTHER


def words_of(error: Exception) -> str:
    """What happened and where, for a message."""
    match error:
        case OSError():
            return f"{error.filename or 'the disk'}: {error.strerror or error}"
        case FleetError():
            return error.what
        case _:
            return unforeseen(error).message
