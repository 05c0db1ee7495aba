"""What each store promises: a secret is made once, also by many at once; a step is decided on what was seen."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from fleet.contract.errors import Conflict
from fleet.secrets.store import Change, SecretStore
from tests.secrets.conftest import Open
from tests.secrets.steps import NAME, Shown, kept, shown, take


def never() -> bytes:
    raise AssertionError("the secret was made anew")


@pytest.fixture
def store(opened: Open) -> SecretStore:
    made = opened()
    made.get_or_create(NAME, lambda: b"old")
    return made


def test_a_secret_is_made_once(opened: Open) -> None:
    store = opened()
    assert store.get("a") is None
    assert store.versions("a") is None
    assert store.get_or_create("a", lambda: b"first\xff\n") == b"first\xff\n"
    assert store.get_or_create("b", lambda: b"second") == b"second"
    again = opened()
    assert (again.get_or_create("a", never), again.get_or_create("b", never)) == (b"first\xff\n", b"second")
    assert (again.get("a"), again.get("c")) == (b"first\xff\n", None)


def test_who_loses_the_race_gets_the_winners_value(opened: Open) -> None:
    for name in ("first", "second"):

        def make_while_another_wins(name: str = name) -> bytes:
            opened().get_or_create(name, lambda: b"winner")
            return b"loser"

        assert opened().get_or_create(name, make_while_another_wins) == b"winner"


def test_many_at_once_agree(opened: Open) -> None:
    barrier, seen = threading.Barrier(6), list[tuple[bytes, ...]]()

    def install(number: int) -> None:
        store = opened()
        barrier.wait(20)
        seen.append(tuple(store.get_or_create(f"s{one}", lambda: str(number).encode()) for one in range(5)))

    threads = [threading.Thread(target=install, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 6
    assert len(set(seen)) == 1


def test_a_failed_make_leaves_nothing(opened: Open) -> None:
    with pytest.raises(AssertionError, match="made anew"):
        opened().get_or_create("a", never)
    assert opened().get("a") is None


def test_forgetting_is_for_ever(opened: Open) -> None:
    store = opened()
    store.get_or_create("a", lambda: b"before")
    store.clear()
    assert store.get("a") is None
    store.clear()
    assert opened().get_or_create("a", lambda: b"after") == b"after"


def test_a_rotation_from_one_version_to_the_next(store: SecretStore, opened: Open) -> None:
    seen: list[Shown] = []
    for change in (Change.STAGE, Change.PROMOTE, Change.RETIRE):
        take(store, change)
        seen.append(shown(opened()))
        assert store.get(NAME) == opened().get(NAME) == seen[-1][0]
    assert seen == [(b"old", b"new", None), (b"new", None, b"old"), (b"new", None, None)]


def test_the_way_back(store: SecretStore) -> None:
    take(store, Change.STAGE, Change.PROMOTE, Change.DEMOTE)
    assert shown(store) == (b"old", b"new", None)
    take(store, Change.DROP)
    assert shown(store) == (b"old", None, None)


def test_when_the_current_version_was_made_is_known(store: SecretStore) -> None:
    before = kept(store).made
    take(store, Change.STAGE, Change.PROMOTE, Change.RETIRE)
    after = kept(store).made
    assert before
    assert after
    now, second = datetime.now(UTC), timedelta(seconds=1)  # the API server's clock has whole seconds
    assert now - timedelta(minutes=10) < before <= after + second <= now + 2 * second


def test_what_is_made_from_all_versions_is_the_same_before_and_after_the_switch(store: SecretStore) -> None:
    take(store, Change.STAGE)
    before = kept(store).values
    take(store, Change.PROMOTE)
    assert kept(store).values == before == (b"new", b"old")


def test_of_two_steps_at_once_one_is_taken(store: SecretStore, opened: Open) -> None:
    seen = kept(store)
    opened().change(NAME, seen, Change.STAGE, b"winner")
    with pytest.raises(Conflict):
        store.change(NAME, seen, Change.STAGE, b"loser")
    assert shown(store) == (b"old", b"winner", None)


def test_a_step_on_the_same_values_after_a_way_there_and_back_is_refused(store: SecretStore) -> None:
    take(store, Change.STAGE, Change.PROMOTE)
    seen = kept(store)
    take(store, Change.DEMOTE, Change.PROMOTE)
    with pytest.raises(Conflict):
        store.change(NAME, seen, Change.RETIRE)
    assert shown(store) == (b"new", None, b"old")


@pytest.mark.parametrize("change", [Change.PROMOTE, Change.RETIRE, Change.DEMOTE, Change.DROP])
def test_a_step_that_does_not_fit_is_refused(store: SecretStore, change: Change) -> None:
    with pytest.raises(Conflict, match="cannot"):
        take(store, change)
    assert shown(store) == (b"old", None, None)
