"""The harness: worlds to run the product in, devices, probes and waits, behind one pytest plugin."""

from __future__ import annotations

import sys

# The supervisor and the systemctl double import this package too, and must start without loading pytest.
if "pytest" in sys.modules:
    import pytest

    pytest.register_assert_rewrite("harness.scenario.player", "scenarios")
