"""The browser of the tests does not hear of the machine's network interfaces, which containers of others change."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def test_it_loads_every_page_while_interfaces_come_and_go() -> None:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *user, "--net", sys.executable, "-m", "tests.harness.changing_network"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == []
