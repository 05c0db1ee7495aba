"""The runbook, a test per scenario; each finds what it needs made fresh, so they run in any order and side by side.

The last but one takes long, and nobody should wait for it alone.
"""

from __future__ import annotations

import pytest

from harness.pytest_plugin.fixtures.scenario import Play
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
from scenarios.stack import stack
from scenarios.stolen import stolen
from scenarios.update import roll_out, update
from scenarios.upgrade import upgrade, upgrade_interrupted
from scenarios.upgrade_orders import upgrade_queued, upgrade_refused, upgrade_withdrawn


@pytest.mark.embedded
@pytest.mark.node
@pytest.mark.k3d
def test_install(play: Play) -> None:
    play(install)


def test_enroll(play: Play) -> None:
    play(enroll)


def test_retire(play: Play) -> None:
    play(retire)


def test_deploy(play: Play) -> None:
    play(deploy)


@pytest.mark.embedded
@pytest.mark.node
@pytest.mark.k3d
def test_secret(play: Play) -> None:
    play(secret)


@pytest.mark.embedded
@pytest.mark.node
def test_private_image(play: Play) -> None:
    play(private_image)


@pytest.mark.embedded
@pytest.mark.node
def test_stack(play: Play) -> None:
    play(stack)


def test_update(play: Play) -> None:
    play(update)


def test_roll_out(play: Play) -> None:
    play(roll_out)


def test_observe(play: Play) -> None:
    play(observe)


@pytest.mark.embedded
@pytest.mark.node
def test_browse(play: Play) -> None:
    play(browse)


@pytest.mark.production_smoke
def test_look(play: Play) -> None:
    play(look)


@pytest.mark.embedded
@pytest.mark.node
@pytest.mark.k3d
def test_restart(play: Play) -> None:
    play(restart)


@pytest.mark.embedded
@pytest.mark.node
def test_rotate(play: Play) -> None:
    play(rotate)


@pytest.mark.embedded
@pytest.mark.node
def test_rotate_authority(play: Play) -> None:
    play(rotate_authority)


@pytest.mark.embedded
@pytest.mark.node
def test_rotate_device(play: Play) -> None:
    play(rotate_device)


@pytest.mark.embedded
@pytest.mark.node
def test_rotate_admin_token(play: Play) -> None:
    play(rotate_admin_token)


@pytest.mark.embedded
@pytest.mark.node
def test_rotate_release_key(play: Play) -> None:
    play(rotate_release_key)


def test_upgrade(play: Play) -> None:
    play(upgrade)


def test_upgrade_refused(play: Play) -> None:
    play(upgrade_refused)


@pytest.mark.embedded
@pytest.mark.k3d
def test_upgrade_interrupted(play: Play) -> None:
    play(upgrade_interrupted)


def test_upgrade_queued(play: Play) -> None:
    play(upgrade_queued)


@pytest.mark.embedded
@pytest.mark.k3d
def test_upgrade_withdrawn(play: Play) -> None:
    play(upgrade_withdrawn)


def test_bad_ids(play: Play) -> None:
    play(bad_ids)


@pytest.mark.embedded
@pytest.mark.node
@pytest.mark.k3d
def test_stray_keys(play: Play) -> None:
    play(stray_keys)


def test_bad_workloads(play: Play) -> None:
    play(bad_workloads)


def test_revoke(play: Play) -> None:
    play(revoke)


@pytest.mark.embedded
@pytest.mark.node
def test_stolen(play: Play) -> None:
    play(stolen)


def test_re_enroll(play: Play) -> None:
    play(re_enroll)


@pytest.mark.embedded
@pytest.mark.node
@pytest.mark.k3d
def test_uninstall(play: Play) -> None:
    play(uninstall)


def test_remove(play: Play) -> None:
    play(remove)
