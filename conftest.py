"""What holds for every test of the repository: the report's plugin, and that Ctrl-C reaches whoever a test starts."""

from __future__ import annotations

import signal

pytest_plugins = ["reports.plugin"]

# A shell's background job ignores SIGINT, and so would every process that it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
