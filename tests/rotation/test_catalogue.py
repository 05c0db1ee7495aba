"""From what the parts say to what a decision is made on."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.versions import CalloutKeys, digest_of, key_of_page, page_name, rotated_password, user_of
from fleet.install.secrets import new_password
from fleet.install.tls import new_key
from fleet.nats.keys import Role, new_seed, public_key
from fleet.rotation.catalogue import SECRETS, find
from fleet.rotation.decide import Done, Goal, begun, decide
from fleet.rotation.listing import listed
from fleet.rotation.look import InUse, Standing
from fleet.secrets.store import Change, Kept

OLD, NEW = (new_seed(Role.ACCOUNT) for _ in range(2))
KEY = new_key().decode()
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def server(issuer: str, *users: str) -> frozenset[str]:
    """The tags as nats-server tells them: in lower case."""
    return frozenset({f"issuer:{public_key(issuer).lower()}", *(f"user:{user}" for user in users)})


def callout(*seeds: str) -> CalloutKeys:
    return CalloutKeys("c", tuple(public_key(seed) for seed in seeds), ())


def issuer_step(kept: Kept, in_use: InUse) -> object:
    return decide(find("nats_issuer_seed").seen(kept, in_use), Goal.FORWARD, begin=True)


def test_a_new_issuer_goes_its_way() -> None:
    old, new = OLD.encode(), NEW.encode()
    servers = {"nats": server(OLD)}
    assert issuer_step(Kept(old), InUse(servers, {"c": callout(OLD)}, {})) is Change.STAGE
    assert "does not honour" in str(issuer_step(Kept(old, next=new), InUse(servers, {"c": callout(OLD)}, {})))
    both = {"c": callout(OLD, NEW)}
    assert issuer_step(Kept(old, next=new), InUse(servers, both, {})) is Change.PROMOTE
    assert "still uses" in str(issuer_step(Kept(new, previous=old), InUse(servers, both, {})))
    servers = {"nats": server(NEW)}
    assert issuer_step(Kept(new, previous=old), InUse(servers, both, {})) is Change.RETIRE
    assert "still honours" in str(issuer_step(Kept(new), InUse(servers, both, {})))


def test_one_server_that_does_not_answer_holds_it_up() -> None:
    silent = InUse({"nats-0": server(OLD)}, {"c": callout(OLD, NEW)}, {}, ("NATS: 1 of 3 servers answer",))
    assert "1 of 3" in str(issuer_step(Kept(OLD.encode(), next=NEW.encode()), silent))


def test_a_server_of_an_older_release_is_not_taken_for_a_current_one() -> None:
    untagged = InUse({"nats": frozenset[str]()}, {"c": callout(OLD)}, {})
    step = issuer_step(Kept(NEW.encode(), previous=OLD.encode()), untagged)
    assert "a key it does not tell" in str(step)


@pytest.mark.parametrize(
    ("name", "role", "parts"),
    [("nats_app_pass", "fleet-app", 1), ("nats_auth_pass", "fleet-callout", 2), ("nats_publisher_pass", "", 0)],
)
def test_a_password_is_promoted_once_every_server_takes_it_and_retired_once_our_parts_use_it(
    name: str, role: str, parts: int
) -> None:
    old, new = secrets.token_urlsafe(), rotated_password()
    role = role or "fleet-publisher"
    users = [user_of(role, old), user_of(role, new)]
    secret, staged, promoted = (
        find(name),
        Kept(old.encode(), next=new.encode()),
        Kept(new.encode(), previous=old.encode()),
    )
    callouts = {"c1": callout(OLD), "c2": callout(OLD)}
    had = InUse(
        {"nats": server(OLD, users[0], "fleet-system")}, callouts, dict.fromkeys(map(str, range(parts)), users[0])
    )
    assert not begun(secret.seen(Kept(old.encode()), had))
    assert "does not honour" in str(decide(secret.seen(staged, had), Goal.FORWARD, begin=False))
    takes = InUse({"nats": server(OLD, *users)}, callouts, had.users)
    assert decide(secret.seen(staged, takes), Goal.FORWARD, begin=False) is Change.PROMOTE
    if parts:
        assert "still uses" in str(decide(secret.seen(promoted, takes), Goal.FORWARD, begin=False))
    came = InUse(takes.servers, callouts, dict.fromkeys(map(str, range(parts)), users[1]) | {"a stranger": users[0]})
    assert decide(secret.seen(promoted, came), Goal.FORWARD, begin=False) is Change.RETIRE
    ended = InUse({"nats": server(OLD, users[1])}, callouts, came.users)
    assert decide(secret.seen(Kept(new.encode()), ended), Goal.FORWARD, begin=False) == Done()


def test_a_new_tls_key_is_honoured_by_all_and_used_once_each_server_was_restarted() -> None:
    old, new = new_key(), new_key()
    secret = find("nats_tls_key")
    had, has = (InUse({"nats": server(OLD) | {f"tls:{digest_of(key)}"}}, {}, {}) for key in (old, new))
    assert decide(secret.seen(Kept(old, next=new), had), Goal.FORWARD, begin=False) is Change.PROMOTE
    assert "still uses" in str(decide(secret.seen(Kept(new, previous=old), had), Goal.FORWARD, begin=False))
    assert decide(secret.seen(Kept(new, previous=old), has), Goal.FORWARD, begin=False) is Change.RETIRE
    assert "still uses" in str(
        decide(secret.seen(Kept(new, next=old), InUse(had.servers, {}, {})), Goal.BACK, begin=False)
    )


def test_a_new_key_of_the_page_is_used_once_the_page_names_it_and_nobody_else_holds_it_up() -> None:
    old, new = new_key(), new_key()
    secret, promoted = find("web_tls_key"), Kept(new, previous=old)

    def step(kept: Kept, *keys: bytes, has_page: bool = True) -> str:
        named = frozenset(key_of_page(page_name(key)) for key in keys)
        in_use = InUse({"nats": server(OLD)}, {}, {}, pages=named, has_page=has_page)
        return str(decide(secret.seen(kept, in_use), Goal.FORWARD, begin=True))

    assert step(Kept(old), old) == str(Change.STAGE)
    assert step(Kept(old, next=new), old) == str(Change.PROMOTE)
    assert f"the web page still uses {digest_of(old)}" in step(promoted, old)
    assert "the web page still uses a key it does not tell" in step(promoted), "it is not there, or an older release's"
    assert step(promoted, new) == step(promoted, old, new) == str(Change.RETIRE)
    assert step(promoted, has_page=False) == str(Change.RETIRE), "nobody shows it"
    assert key_of_page("fleet-web") == ""


def test_a_password_between_servers_is_accepted_by_each_before_one_sends_it() -> None:
    old, new = new_password().encode(), new_password().encode()
    secret = find("nats_route_pass")

    def cluster(*servers: tuple[bytes, tuple[bytes, ...]]) -> InUse:
        def tags(sent: bytes, accepted: tuple[bytes, ...]) -> frozenset[str]:
            return frozenset({f"route-sent:{digest_of(sent)}", *(f"route:{digest_of(one)}" for one in accepted)})

        return InUse({f"nats-{at}": server(OLD) | tags(*one) for at, one in enumerate(servers)}, {}, {})

    def step(kept: Kept, *servers: tuple[bytes, tuple[bytes, ...]]) -> str:
        return str(decide(secret.seen(kept, cluster(*servers)), Goal.FORWARD, begin=True))

    before, both, after, ended = (old, (old,)), (old, (old, new)), (new, (old, new)), (new, (new,))
    assert step(Kept(old), before, before) == str(Change.STAGE)
    staged, promoted = Kept(old, next=new), Kept(new, previous=old)
    assert f"nats-1 does not honour {digest_of(new)}" in step(staged, both, before)
    assert step(staged, both, both) == str(Change.PROMOTE)
    assert f"nats-0 still uses {digest_of(old)}" in step(promoted, both, after)
    assert step(promoted, after, after) == str(Change.RETIRE)
    assert f"nats-0 still honours {digest_of(old)}" in step(Kept(new), after, ended)
    untold = InUse({"nats-0": server(OLD), "nats-1": server(OLD)}, {}, {})
    assert "does not tell" in str(decide(secret.seen(promoted, untold), Goal.FORWARD, begin=True))
    alone = InUse({"nats-0": server(OLD)}, {}, {})
    assert decide(secret.seen(promoted, alone), Goal.FORWARD, begin=True) is Change.RETIRE


def test_users_of_one_role_are_not_those_of_another() -> None:
    """A slot belongs to its role; what only begins like one does not."""
    role = find("nats_control_pass")
    in_use = InUse({"nats": server(OLD, "fleet-control", "fleet-control-1234abcd", "fleet-controller")}, {}, {})
    seen = role.seen(Kept(b"x"), in_use)
    assert seen.honoured == {"nats": frozenset({"fleet-control", "fleet-control-1234abcd"})}


def test_a_rotated_password_is_a_user_of_its_own() -> None:
    first, second = rotated_password(), rotated_password()
    assert user_of("fleet-app", "no dot in it") == "fleet-app"
    assert len({user_of("fleet-app", first), user_of("fleet-app", second), "fleet-app"}) == 3


@pytest.mark.parametrize(
    "value", [b"not a seed", b"\xff", new_seed(Role.ACCOUNT)[:-1].encode()], ids=["no seed", "no text", "cut short"]
)
def test_a_secret_edited_to_something_else_is_named(value: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"nats_issuer_seed is damaged.*\n.*restore it"):
        find("nats_issuer_seed").versions(Kept(value))


def test_a_name_that_is_none() -> None:
    with pytest.raises(NotFound, match="no secret 'nats'"):
        find("nats")


def test_a_listing_shows_no_value_and_says_what_is_due() -> None:
    in_use = InUse({"nats": server(OLD)}, {"c": callout(OLD)}, {})
    for secret in SECRETS:
        value = OLD if "seed" in secret.name else KEY if "_key" in secret.name else "a-very-secret-value"
        kept = Kept(value.encode(), made=NOW - timedelta(days=366))
        found = listed(secret, kept, in_use, NOW)
        assert value not in repr(found)
        assert found.rotates or "cannot" in found.state
    issuer = find("nats_issuer_seed")
    assert listed(issuer, Kept(OLD.encode(), made=NOW - timedelta(days=366)), in_use, NOW).state == "due"
    assert listed(issuer, Kept(OLD.encode(), made=NOW - timedelta(days=364)), in_use, NOW).state == "current"
    assert "still honoured" in listed(issuer, Kept(OLD.encode(), previous=NEW.encode()), in_use, NOW).state
    key, unknown = find("web_tls_key"), Kept(new_key())
    for days, state in ((89, "due"), (91, "current")):
        assert listed(key, unknown, in_use, NOW, NOW + timedelta(days=days)).state == state, "its age is not known"
    left = InUse(in_use.servers, {"c": callout(OLD, NEW)}, {})
    assert "unfinished" in listed(issuer, Kept(OLD.encode()), left, NOW).state


def test_of_each_secret_that_cannot_be_rotated_it_is_said_why() -> None:
    silent = [one for one in SECRETS if one.rotation is None]
    assert "zitadel_master_key" in {one.name for one in silent}
    for secret in silent:
        shown = listed(secret, Kept(b"x", made=NOW - timedelta(days=999)), InUse({}, {}, {}), NOW)
        before, _, reason = shown.state.partition(": ")
        assert before in {"it cannot be rotated", "it cannot be rotated yet"}
        assert len(reason.split()) > 5
        assert (shown.rotates, shown.due) == (False, None)


def test_a_secret_that_one_server_cannot_rotate_is_never_due_there() -> None:
    kept = Kept(OLD.encode(), made=NOW - timedelta(days=999))
    in_use = InUse({"nats": server(OLD)}, {"c": callout(OLD)}, {})
    shown = listed(find("nats_issuer_seed"), kept, in_use, NOW, why_not="it cannot be rotated here")
    assert (shown.state, shown.rotates, shown.due) == ("it cannot be rotated here", False, None)


def test_a_new_authority_is_trusted_by_all_before_a_server_shows_it_and_by_none_of_the_old_afterwards() -> None:
    old, new = new_key(), new_key()
    authorities = {"sha256:one": digest_of(old), "sha256:two": digest_of(new)}
    secret = find("ca_key")

    def step(kept: Kept, signed_by: str, *trusted: str, device: frozenset[str] | None = None) -> str:
        """What is next, where everybody trusts the same; the identity provider's certificate is nobody's business."""
        every = frozenset(trusted) | {"sha256:provider"}
        in_use = InUse(
            {"nats": server(OLD) | {f"authority:{signed_by}"}},
            {"callout c": CalloutKeys("c", (), (), tuple(every))},
            {},
            trusting={
                "operator": every,
                "device pi-7 (its agent v0.0.9 takes no bundle)": every if device is None else device,
            },
            authorities=authorities,
            foreign=frozenset({"sha256:provider"}),
        )
        return str(decide(secret.seen(kept, in_use), Goal.FORWARD, begin=True))

    assert step(Kept(old), "sha256:one", "sha256:one") == str(Change.STAGE)
    staged = Kept(old, next=new)
    assert f"callout c does not honour {digest_of(new)}" in step(staged, "sha256:one", "sha256:one")
    assert "device pi-7 (its agent v0.0.9" in step(staged, "sha256:one", "sha256:one", "sha256:two", device=frozenset())
    assert step(staged, "sha256:one", "sha256:one", "sha256:two") == str(Change.PROMOTE)
    promoted = Kept(new, previous=old)
    assert f"nats still uses {digest_of(old)}" in step(promoted, "sha256:one", "sha256:one", "sha256:two")
    assert step(promoted, "sha256:two", "sha256:one", "sha256:two") == str(Change.RETIRE)
    assert "operator still honours sha256:gone" in step(Kept(new), "sha256:two", "sha256:two", "sha256:gone")
    # A device that takes no bundle cannot be known to trust another one.
    assert "device" not in step(Kept(new), "sha256:two", "sha256:two", device=frozenset())


@pytest.mark.parametrize("name", ["zitadel_tls_key", "postgres_pass", "zitadel_db_pass"])
def test_a_bundled_provider_uses_what_it_is_ready_with(name: str) -> None:
    old, new = (new_key() if name == "zitadel_tls_key" else new_password().encode() for _ in range(2))
    secret, promoted = find(name), Kept(new, previous=old)

    def step(kept: Kept, **provider: Standing) -> str:
        return str(decide(secret.seen(kept, InUse({}, {}, {}, provider=provider)), Goal.FORWARD, begin=True))

    had = {"postgres": Standing.CURRENT, "zitadel": Standing.CURRENT}
    assert step(Kept(old), **had) == str(Change.STAGE)
    assert step(Kept(old, next=new), **had) == str(Change.PROMOTE), "there is one at a time, so none is honoured before"
    for late in (Standing.OUTDATED, Standing.STARTING):
        assert "zitadel still uses what it had before" in step(promoted, **{**had, "zitadel": late})
    assert step(promoted, **had) == str(Change.RETIRE)


def test_a_bundled_provider_trusts_an_authority_before_it_shows_a_certificate_of_it() -> None:
    old, new = new_key(), new_key()
    secret = find("ca_key")

    def step(kept: Kept, **provider: Standing) -> str:
        return str(decide(secret.seen(kept, InUse({}, {}, {}, provider=provider)), Goal.FORWARD, begin=False))

    current, outdated = ({"postgres": one, "zitadel": one} for one in (Standing.CURRENT, Standing.OUTDATED))
    assert f"zitadel does not honour {digest_of(new)} yet" in step(Kept(old, next=new), **outdated)
    assert step(Kept(old, next=new), **current) == str(Change.PROMOTE)
    assert "postgres still uses what it had before" in step(Kept(new, previous=old), **outdated)
    assert step(Kept(new, previous=old), **current) == str(Change.RETIRE)
    assert "zitadel still honours what it had before" in step(Kept(new), **outdated)
    assert step(Kept(new), zitadel=Standing.STARTING, postgres=Standing.CURRENT) == str(Done())


def test_a_timer_goes_on_with_what_it_began_and_leaves_alone_what_was_given_up() -> None:
    """A secret is young once its new version is in use: else the old one would be honoured until the next year."""
    secret, day = find("nats_issuer_seed"), timedelta(days=1)
    old, new = OLD.encode(), NEW.encode()
    both = InUse({"nats": server(NEW)}, {"c": callout(OLD, NEW)}, {})

    def now(kept: Kept, made: datetime, why_not: str = "") -> bool:
        kept = Kept(kept.current, kept.next, kept.previous, made)
        return listed(secret, kept, both, NOW, None, why_not).is_for_now(NOW)

    assert now(Kept(old), NOW - 366 * day)
    assert now(Kept(old, next=new), NOW - 366 * day)
    assert not now(Kept(new, next=old), NOW - day), "somebody wanted another one, and then went back"
    assert now(Kept(new, previous=old), NOW)
    assert now(Kept(new), NOW), "the callout still has the old one"
    assert not now(Kept(new, previous=old), NOW, "it cannot be rotated here")
    kept = Kept(new, made=NOW)
    away = listed(secret, kept, InUse({}, {}, {}, ("NATS: it does not answer",)), NOW)
    assert (away.state, away.is_for_now(NOW)) == ("unknown: NATS: it does not answer", False)
    assert not listed(secret, kept, InUse(both.servers, {"c": callout(NEW)}, {}), NOW).is_for_now(NOW)


def test_the_guide_says_of_every_secret_what_to_do_after_its_leak() -> None:
    guide = Path("docs/operations.md").read_text()
    table = guide.partition("**After a leak**")[2].partition("\n## ")[0]
    assert [secret.name for secret in SECRETS if f"`{secret.name}`" not in table] == []
