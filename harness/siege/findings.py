"""What was seen while a device attacked, and what of it breaks a promise: data and one pure function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bounds:
    """The promises. Seconds, and MiB.

    Attributes:
        silence: Between two heartbeats of a neighbour that beats once a second.
        delivered: From a changed deployment to the new container on every neighbour.
        status: From there until Kubernetes says so.
        slower: How many times as long as before the attack these two may take, where that is more: a machine that is
            busy with something else is slow by itself.
        revoked: From the end of `fleet device revoke` to the end of the last session.
        revoking: How long that command may take.
        memory: The most resident memory that a component may have had.
        disk: How much a folder may grow: of NATS (`services`), of Kubernetes with etcd, of the logs.
    """

    silence: float = 4.0
    delivered: float = 8.0
    status: float = 2.0
    slower: float = 2.5
    revoked: float = 1.0
    revoking: float = 10.0
    memory: Mapping[str, float] = field(
        default_factory=lambda: {"operator": 300, "callout": 200, "nats": 400, "kube-apiserver": 1200, "etcd": 500}
    )
    disk: Mapping[str, float] = field(default_factory=lambda: {"services": 400, "kubernetes": 500, "logs": 60})


@dataclass
class Findings:
    """What was seen. Seconds, and MiB; each list in the order of the changes, or by what it is about.

    Attributes:
        rounds: How many changes of the deployment arrived everywhere, and were told.
        before: What the same took before the attack: `delivered` and `status` of the slowest change.
        lost: Changes that never arrived, and what was missing.
        offline: Neighbours that Kubernetes did not show as online at some look.
        deaths: Components that ended or were started again.
        misread: What was wrong with logs that were read meanwhile.
    """

    rounds: int = 0
    before: tuple[float, float] = (0.0, 0.0)
    silence: dict[str, float] = field(default_factory=dict[str, float])
    delivered: list[float] = field(default_factory=list[float])
    status: list[float] = field(default_factory=list[float])
    lost: list[str] = field(default_factory=list[str])
    offline: set[str] = field(default_factory=set[str])
    revoking: float = 0
    revoked: float = 0
    memory: dict[str, float] = field(default_factory=dict[str, float])
    disk: dict[str, float] = field(default_factory=dict[str, float])
    deaths: list[str] = field(default_factory=list[str])
    misread: list[str] = field(default_factory=list[str])

    def peak(self, kind: dict[str, float], name: str, value: float) -> None:
        """Keep the larger value."""
        kind[name] = max(kind.get(name, 0.0), value)


def broken(seen: Findings, bounds: Bounds) -> list[str]:
    """Every promise that was not kept, as a sentence; empty when all were."""
    found = [
        *seen.lost,
        *seen.deaths,
        *seen.misread,
        *(f"{name} was shown as offline" for name in sorted(seen.offline)),
    ]
    if not seen.rounds:
        found.append("no change of the deployment went through")
    times = (
        *((f"{name} was silent", value, bounds.silence) for name, value in seen.silence.items()),
        ("a change took", max(seen.delivered, default=0), max(bounds.delivered, bounds.slower * seen.before[0])),
        ("its status came later by", max(seen.status, default=0), max(bounds.status, bounds.slower * seen.before[1])),
        ("the session of the revoked device outlived the command by", seen.revoked, bounds.revoked),
        ("`fleet device revoke` took", seen.revoking, bounds.revoking),
    )
    found += [f"{what} {value:.1f} s; {most:.3g} s is right" for what, value, most in times if value > most]
    sizes = (
        *((f"{name} used", value, bounds.memory.get(name)) for name, value in seen.memory.items()),
        *((f"the folder {name} grew by", value, bounds.disk.get(name)) for name, value in seen.disk.items()),
    )
    return found + [
        f"{what} {value:.0f} MiB; {most:g} MiB is right" for what, value, most in sizes if most and value > most
    ]
