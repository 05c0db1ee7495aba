"""Which screens a change makes anew."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import msgspec
import pytest

from fleet.contract.errors import NotFound
from fleet.contract.states import gathered
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.web.messages import EventMessage
from fleet.web.pages import Pages, Part
from fleet.web.source import NATS, Gap
from fleet.web.store import Store
from fleet.web.streams import RowsFeed, ScreenFeed
from tests.support.web import OFFLINE, ONLINE, RunningPage, deployment, device

encoded = msgspec.json.encode
_MADE_BY = "_screen"
"""What makes a screen, for a test that counts them."""


def test_what_others_do_makes_no_screen_of_a_device_anew(page: RunningPage) -> None:
    """Of a hundred pages that show a hundred devices, one is made anew when one device says something."""
    page.show(device("pi-1", deployments=1), device("pi-2"), deployments=(deployment("web", ONLINE),))
    known, gap = page.parts.store, Gap(NATS, 1.0, 2.0)
    pages = Pages(known, "here")
    said = gathered({"web": DeviceState(1, Phase.FAILED, Reason.EXITED, "code 1")})

    def anew(change: Callable[[], object]) -> bool:
        before = pages.screen("device", "pi-1")
        change()
        return pages.screen("device", "pi-1") is not before

    def work() -> tuple[list[bool], list[bool]]:
        others = [
            lambda: known.update_states("pi-2", said),
            lambda: known.apply_change("Device", encoded(device("pi-2", OFFLINE, version=2)), deleted=False),
            lambda: known.apply_change("Device", encoded(device("pi-2")), deleted=True),
            lambda: known.apply_change("FleetDeployment", encoded(deployment("web", OFFLINE)), deleted=False),
            lambda: known.add_event(EventMessage("Device", "pi-2", "Normal", "Reason", "of another", 1.0, 1)),
            lambda: known.add_event(EventMessage("FleetDeployment", "pi-1", "Normal", "Reason", "of another", 1.0, 1)),
            lambda: known.add_invalid_message("device-info", "pi-9", "of nobody"),
        ]
        own = [
            lambda: known.update_states("pi-1", said),
            lambda: known.add_event(EventMessage("Device", "pi-1", "Normal", "Reason", "its own", 1.0, 1)),
            lambda: known.add_invalid_message("device-info", "pi-1", "its own"),
            lambda: known.sources.gaps.append(gap) or known.sources.changed(),
            known.discard_reports,
            lambda: known.apply_change("Device", encoded(device("pi-1", OFFLINE, version=2)), deleted=False),
            lambda: known.apply_change("Device", b'{"metadata":{"name":"pi-1"},"spec":1}', deleted=False),
        ]
        return list(map(anew, others)), list(map(anew, own))

    others, own = page.do(work)
    assert (any(others), all(own)) == (False, True), (others, own)
    page.do(lambda: known.apply_change("Device", encoded(device("pi-1")), deleted=True))
    with pytest.raises(NotFound):
        page.do(lambda: pages.screen("device", "pi-1"))


def test_a_device_that_was_only_listed_is_gone_when_it_is_deleted(page: RunningPage) -> None:
    page.show(device("pi-1"))
    pages = Pages(page.parts.store, "here")
    assert "pi-1" in page.do(lambda: pages.screen("device", "pi-1"))
    page.change("Device", device("pi-1"), deleted=True)
    with pytest.raises(NotFound):
        page.do(lambda: pages.screen("device", "pi-1"))


def test_who_looks_at_what_does_not_change_has_nothing_made(page: RunningPage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many different screens are open: each page asks once a second what is new."""
    names = [f"pi-{number}" for number in range(200)]
    page.show(*map(device, names))
    pages, made = Pages(page.parts.store, "here"), list[str]()
    make = cast("Callable[[str, str, Part], object]", getattr(pages, _MADE_BY))

    def counted(kind: str, name: str, part: Part) -> object:
        made.append(name)
        return make(kind, name, part)

    monkeypatch.setattr(pages, _MADE_BY, counted)
    screens = [partial(part, "device", name) for name in names for part in (pages.screen, pages.version)]
    feeds = [ScreenFeed(*screens[number : number + 2]) for number in range(0, len(screens), 2)]  # type: ignore[arg-type]

    def asked() -> int:
        return sum(len(feed.next_events()) for feed in feeds)

    assert (page.do(asked), len(made)) == (200, 200)
    assert (page.do(asked), len(made)) == (0, 200)
    page.change("Device", device("pi-7", OFFLINE, version=2))
    assert (page.do(asked), made[200:]) == (1, ["pi-7"])


def _churn(known: Store, first: int, number: int) -> None:
    """So many devices come and go."""
    for one in range(first, first + number):
        data = encoded(device(f"gone-{one}"))
        known.apply_change("Device", data, deleted=False)
        known.apply_change("Device", data, deleted=True)


def test_names_of_deleted_devices_are_not_kept_for_ever_and_who_missed_them_gets_every_row(page: RunningPage) -> None:
    """They took memory as long as the page's process lived. Who has seen enough is told of what is new alone."""
    page.show(device("pi-1"))

    def work() -> None:
        known = page.parts.store
        first, early = known.version, RowsFeed(known, known.version)
        list(early.next_events())
        _churn(known, 0, 1_500)
        late, seen = RowsFeed(known, known.version), known.version
        list(late.next_events())
        _churn(known, 1_500, 1_500)
        assert len(known.versions) <= 2_001
        assert (known.versions.knows_rows_since(first), known.versions.knows_rows_since(seen)) == (False, True)
        told = [msgspec.json.decode(one.data) for one in early.next_events()]
        assert [one.get("whole") for one in told] == [True]
        assert [row[0] for row in told[0]["rows"]] == ["pi-1"]
        news = [msgspec.json.decode(one.data) for one in late.next_events()]
        assert [(one["rows"], len(one["gone"]), "whole" in one) for one in news] == [([], 1_500, False)]

    page.do(work)


def test_a_device_that_comes_again_after_its_name_was_forgotten_is_shown_as_it_is(page: RunningPage) -> None:
    page.show(device("pi-1", OFFLINE))

    def work() -> None:
        known = page.parts.store
        pages = Pages(known, "here")
        assert "HeartbeatMissed" in pages.screen("device", "pi-1")
        known.apply_change("Device", encoded(device("pi-1")), deleted=True)
        _churn(known, 0, 2_500)
        known.apply_change("Device", encoded(device("pi-1")), deleted=False)
        assert "HeartbeatMissed" not in pages.screen("device", "pi-1")
        known.apply_change("Device", encoded(device("pi-1", OFFLINE, version=2)), deleted=False)
        assert "HeartbeatMissed" in pages.screen("device", "pi-1")

    page.do(work)
