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
_Troubled = tuple[str, list[Trouble]]
"""A device's name, and its troubles of one reason, the newest first."""


class Detail(msgspec.Struct, frozen=True):
    """One trouble of a device. `command` helps with it; empty where the group has one for all."""

    about: str
    message: str
    since: str
    command: str


class Member(msgspec.Struct, frozen=True):
    """A device of a group, with all that it has of the group's reason, the newest first."""

    name: str
    details: tuple[Detail, ...]


class Group(msgspec.Struct, frozen=True):
    """Devices with one reason at one site, the newest first. `count` are all of them, and `more` are not named.

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
    found: dict[tuple[str, str], list[_Troubled]] = {}
    for summary in troubled:
        own: dict[str, list[Trouble]] = {}
        for trouble in summary.troubles:
            own.setdefault(trouble.reason, []).append(trouble)
        for reason, troubles in own.items():
            troubles.sort(key=_since, reverse=True)
            found.setdefault((reason, summary.site), []).append((summary.row.name, troubles))
    groups = [_group(reason, site, members, namespace) for (reason, site), members in found.items()]
    return sorted(groups, key=lambda group: (group.newest, group.count), reverse=True)


def _since(trouble: Trouble) -> str:
    return trouble.since


def _group(reason: str, site: str, members: list[_Troubled], namespace: str) -> Group:
    ordered = sorted(members, key=lambda item: item[1][0].since, reverse=True)
    first = ordered[0][1][0]
    named = [Member(name, tuple(_details(name, troubles, namespace))) for name, troubles in ordered[:_SHOWN]]
    commands = {detail.command for member in named for detail in member.details}
    shared = commands.pop() if len(commands) == 1 else ""
    if shared:
        named = [Member(member.name, tuple(map(_without_command, member.details))) for member in named]
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


def _details(name: str, troubles: Iterable[Trouble], namespace: str) -> Iterable[Detail]:
    """What is shown of a device's troubles of one reason."""
    for trouble in troubles:
        logs = (trouble.workload,) if has_logs(trouble.workload, trouble.reason) else ()
        command = for_device(name, (trouble.reason,), namespace, logs, version=trouble.version)[0]
        yield Detail(trouble.about, one_line(trouble.message), trouble.since, command)


def _without_command(detail: Detail) -> Detail:
    return msgspec.structs.replace(detail, command="")
