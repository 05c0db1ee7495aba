"""Which device claims which token subject, indexed by device and by subject."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fleet.operator.reconcile.actions import Action
from fleet.operator.reconcile.guard import Guard
from fleet.operator.reconcile.identities import Admission, admit_device, claimed_subject, owner
from fleet.operator.reconcile.snapshot import Snapshot


class SubjectClaims:
    """What `fleet.operator.reconcile.identities` needs to decide about one device alone."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._claims: dict[str, str] = {}
        self._claimants: defaultdict[str, set[str]] = defaultdict(set)
        self._holders: dict[str, str] = {}
        self._subjects: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def devices_changed(self, snapshot: Snapshot, names: Iterable[str]) -> set[str]:
        """Take in what devices claim now; returns the other devices that this is about."""
        touched: set[str] = set()
        for name in names:
            with self._guard.of("Device", name):
                before, now = self._claims.get(name, ""), claimed_subject(snapshot.devices.get(name))
                if before != now:
                    touched |= self._claimants[before] if before else set()
                    self._claim(name, before, now)
                if now:
                    # Who is the first to claim it may have changed, too.
                    touched |= self._claimants[now]
        return touched

    def subjects_changed(self, snapshot: Snapshot, subjects: Iterable[str]) -> set[str]:
        """Take in the registry's entries of subjects; returns the devices that this is about."""
        touched: set[str] = set()
        for subject in subjects:
            before, entry = self._holders.pop(subject, ""), snapshot.identities.get(subject)
            if before:
                self._subjects[before].pop(subject, None)
                touched.add(before)
            if entry is not None:
                self._holders[subject] = str(entry.device)
                self._subjects[str(entry.device)][subject] = None
                touched.add(str(entry.device))
            touched |= self._claimants.get(subject, set())
        return touched

    def admit(self, snapshot: Snapshot, name: str) -> tuple[list[Action], Admission] | None:
        """What to write into the registry for a device, and where it stands; None for one that nothing is known of."""
        subjects = self._subjects.get(name)
        if name not in snapshot.devices and (not subjects or name in snapshot.unparsed_devices):
            return None
        claimed = self._claims.get(name, "")
        owners = {claimed: owner(snapshot, self._claimants[claimed])} if claimed else {}
        return admit_device(snapshot, name, owners, list(subjects or ()))

    def _claim(self, name: str, before: str, now: str) -> None:
        if before:
            self._claimants[before].discard(name)
            if not self._claimants[before]:
                del self._claimants[before]
        if now:
            self._claims[name] = now
            self._claimants[now].add(name)
        else:
            del self._claims[name]
