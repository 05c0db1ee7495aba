"""The production runbook as code: a file per chapter, played by `e2e`, printed as `docs/runbook.md`."""

from __future__ import annotations

from harness.scenario import Scenario
from scenarios.bad_input import bad_ids, bad_workloads, stray_keys
from scenarios.deploy import deploy
from scenarios.enroll import enroll
from scenarios.install import install, uninstall
from scenarios.look import look
from scenarios.observe import observe
from scenarios.re_enroll import re_enroll
from scenarios.remove import remove
from scenarios.restart import restart
from scenarios.revoke import revoke
from scenarios.server_upgrade import server_upgrade
from scenarios.stolen import stolen
from scenarios.update import roll_out, update
from scenarios.upgrade import upgrade, upgrade_interrupted, upgrade_queued, upgrade_refused, upgrade_withdrawn

BOOK: tuple[Scenario, ...] = (
    install,
    enroll,
    deploy,
    update,
    roll_out,
    observe,
    look,
    restart,
    server_upgrade,
    upgrade,
    upgrade_refused,
    upgrade_interrupted,
    upgrade_queued,
    upgrade_withdrawn,
    bad_ids,
    stray_keys,
    bad_workloads,
    revoke,
    stolen,
    re_enroll,
    remove,
    uninstall,
)
"""Every scenario, in the order of the runbook."""
