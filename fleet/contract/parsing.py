"""What it means that bytes from outside hold no JSON, or none of the kind that is wanted."""

from __future__ import annotations

import msgspec

NOT_JSON = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
"""What msgspec 0.22 raises for them, and `json` too: `ValueError` for an integer of more than 4,300 digits and, as
`UnicodeDecodeError`, for bytes that are no UTF-8; `RecursionError` for arrays in arrays without end. Whoever reads such
bytes catches all of it, or one answer or one file ends what reads it."""
