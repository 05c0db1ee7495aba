"""The production runbook as code: a file per chapter, played by `e2e`, printed as `docs/runbook.md`."""

from __future__ import annotations

from harness.scenario.scenario import Scenario
from scenarios.bad_input import bad_ids, bad_workloads, stray_keys
from scenarios.browse import browse
from scenarios.deploy import deploy
from scenarios.enroll import enroll
from scenarios.install import install, uninstall
from scenarios.look import look
from scenarios.observe import observe
from scenarios.private_image import private_image
from scenarios.re_enroll import re_enroll
from scenarios.remove import remove
from scenarios.restart import restart
from scenarios.retire import retire
from scenarios.revoke import revoke
from scenarios.rotate import rotate
from scenarios.rotate_admin_token import rotate_admin_token
from scenarios.rotate_authority import rotate_authority
from scenarios.rotate_device import rotate_device
from scenarios.rotate_release_key import rotate_release_key
from scenarios.secret import secret
from scenarios.server_upgrade import server_upgrade
from scenarios.stack import stack
from scenarios.stolen import stolen
from scenarios.update import roll_out, update
from scenarios.upgrade import upgrade, upgrade_interrupted
from scenarios.upgrade_orders import upgrade_queued, upgrade_refused, upgrade_withdrawn

BOOK: tuple[Scenario, ...] = (
    install,
    enroll,
    retire,
    deploy,
    secret,
    private_image,
    stack,
    update,
    roll_out,
    observe,
    look,
    browse,
    restart,
    rotate,
    rotate_authority,
    rotate_device,
    rotate_admin_token,
    rotate_release_key,
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
