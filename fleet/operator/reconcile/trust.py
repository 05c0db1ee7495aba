"""Whether a device trusts what the server's devices are to trust: pure."""

from __future__ import annotations

from collections.abc import Collection

from fleet.contract.wire import DeviceInfo
from fleet.operator.new_condition import NewCondition

BUNDLE_OUTDATED = "BundleOutdated"


def condition(info: DeviceInfo | None, bundle: Collection[str], *, online: bool) -> NewCondition | None:
    """The condition of a device that trusts other certificates than those of `bundle`.

    None where there is no cause, or where its agent does not say what it trusts: agents of former releases do not.
    """
    if info is None or not info.trusts or not bundle:
        return None
    missing = [certificate for certificate in bundle if certificate not in info.trusts]
    if missing and online:
        what = f"it does not trust {', '.join(missing)} yet, which is in the server's trust bundle"
        return NewCondition(BUNDLE_OUTDATED, "True", "NotTakenYet", what)
    if missing:
        what = (
            f"when it was heard last, it did not trust {', '.join(missing)}, so it may be unable to come back: "
            "take the bundle to it (`fleet device setup --trust FILE`), or enroll it again (--replace)"
        )
        return NewCondition(BUNDLE_OUTDATED, "True", "LeftBehind", what)
    if further := [certificate for certificate in info.trusts if certificate not in bundle]:
        what = f"it still trusts {', '.join(further)}, which the server's trust bundle has no more"
        return NewCondition(BUNDLE_OUTDATED, "True", "StillTrusts", what)
    return None
