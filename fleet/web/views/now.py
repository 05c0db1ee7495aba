"""The first screen: what is wrong now, since when, which rollouts are under way, and what changed last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fleet.cli.suggestions import for_device, has_logs
from fleet.cli.trouble import Trouble
from fleet.contract.printable import one_line
from fleet.web.source import Source
from fleet.web.tail import Line
from fleet.web.views.due import Due
from fleet.web.views.rollouts import Rollout
from fleet.web.views.row import Summary

_SHOWN = 12
"""Devices of a group that are named; the list of devices has them all."""
_GROUPS = 60


class Member(msgspec.Struct, frozen=True):
    """A device of a group. `command` helps with what is wrong; empty where the group has one for all."""

    name: str
    about: str
    message: str
    since: str
    command: str


class Group(msgspec.Struct, frozen=True):
    """Devices with one reason at one site, the newest first. `more` are not named.

    `command` is the one that helps with all of them; empty where each has its own.
    """

    reason: str
    site: str
    means: str
    next_step: str
    count: int
    newest: str
    members: tuple[Member, ...]
    more: int
    command: str


class Now(msgspec.Struct, frozen=True):
    """The whole screen."""

    unavailable: tuple[Source, ...]
    devices: int
    online: int
    troubled: int
    groups: tuple[Group, ...]
    hidden_groups: int
    rollouts: tuple[Rollout, ...]
    changes: tuple[Line, ...]
    due: tuple[Due, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.unavailable or self.groups or self.rollouts or self.due)


def now(
    fleet: tuple[int, int],
    troubled: Sequence[Summary],
    rollouts: tuple[Rollout, ...],
    unavailable: tuple[Source, ...],
    changes: Sequence[Line],
    ending: tuple[Due, ...],
    namespace: str,
) -> Now:
    """The screen. `fleet` is how many devices there are, and are online; `troubled` are those with troubles."""
    groups = _groups(troubled, namespace)
    return Now(
        unavailable=unavailable,
        devices=fleet[0],
        online=fleet[1],
        troubled=len(troubled),
        groups=tuple(groups[:_GROUPS]),
        hidden_groups=max(0, len(groups) - _GROUPS),
        rollouts=rollouts,
        changes=tuple(changes),
        due=ending,
    )


def _groups(troubled: Iterable[Summary], namespace: str) -> list[Group]:
    """One for each reason and site, those with the newest trouble first."""
    found: dict[tuple[str, str], list[tuple[Summary, Trouble]]] = {}
    for one in troubled:
        for trouble in one.troubles:
            found.setdefault((trouble.reason, one.site), []).append((one, trouble))
    groups = [_group(reason, site, members, namespace) for (reason, site), members in found.items()]
    return sorted(groups, key=lambda one: (one.newest, one.count), reverse=True)


def _group(reason: str, site: str, members: list[tuple[Summary, Trouble]], namespace: str) -> Group:
    ordered = sorted(members, key=lambda one: one[1].since, reverse=True)
    first = ordered[0][1]
    named = [_member(one, trouble, namespace) for one, trouble in ordered[:_SHOWN]]
    commands = {one.command for one in named}
    shared = commands.pop() if len(commands) == 1 else ""
    if shared:
        named = [msgspec.structs.replace(one, command="") for one in named]
    return Group(
        reason=one_line(reason),
        site=site,
        means=first.means,
        next_step=first.next_step,
        count=len(members),
        newest=first.since,
        members=tuple(named),
        more=len(members) - len(named),
        command=shared,
    )


def _member(one: Summary, trouble: Trouble, namespace: str) -> Member:
    logs = (trouble.workload,) if has_logs(trouble.workload, trouble.reason) else ()
    command = for_device(one.row.name, (trouble.reason,), namespace, logs)[0]
    return Member(one.row.name, trouble.about, one_line(trouble.message), trouble.since, command)
