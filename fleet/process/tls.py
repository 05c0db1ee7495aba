"""TLS contexts for clients."""

from __future__ import annotations

import os
import ssl

from fleet.contract.errors import InvalidInput


def client_context(ca: str) -> ssl.SSLContext:
    """A context that trusts the PEM certificates in `ca`, or this machine's authorities if it is empty.

    Raises:
        InvalidInput: the variable SSLKEYLOGFILE names a file that cannot be written.
        ssl.SSLError: `ca` holds no certificate.
    """
    try:
        return ssl.create_default_context(cadata=ca or None)
    except ssl.SSLError:
        raise
    except (TypeError, ValueError) as error:  # of text that is not ASCII
        raise ssl.SSLError(0, str(error)) from error
    except OSError as error:  # of the key log, which Python opens itself
        raise InvalidInput(
            f"SSLKEYLOGFILE={os.environ.get('SSLKEYLOGFILE', '')}: {error.strerror}",
            next_step="unset SSLKEYLOGFILE, or name a file that can be written",
        ) from error
