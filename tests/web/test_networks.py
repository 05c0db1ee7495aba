"""Whose connections and sign-ins count as one, and who gives way."""

from __future__ import annotations

from fleet.web.networks import heaviest, network_of


def test_addresses_that_belong_together_count_as_one() -> None:
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9")
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:ff::1"), "one subscriber may have both"
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:100::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")


def networks(number: int, wide: str = "2001:db8:1") -> list[str]:
    """So many networks of one /48."""
    return [network_of(f"{wide}:{part << 8:x}::1") for part in range(number)]


def test_the_network_with_the_most_gives_way() -> None:
    assert heaviest(["192.0.2.1", "192.0.2.2", "192.0.2.2"]) == ({"192.0.2.2"}, 2)
    assert heaviest(["192.0.2.1", "192.0.2.2"]) == ({"192.0.2.1", "192.0.2.2"}, 1)


def test_who_has_a_whole_48_is_not_256_networks_with_little_each() -> None:
    attacker = networks(256)
    assert len(set(attacker)) == 256
    users = ["192.0.2.1"] * 15 + ["192.0.2.2"] * 3 + networks(1, "2001:db8:2") * 8
    assert heaviest([*users, *attacker]) == (set(attacker), 1)
    more = attacker[7]
    assert heaviest([*users, *attacker, more]) == ({more}, 2), "of these one that has more goes first"


def test_small_networks_that_share_a_48_are_not_one() -> None:
    """A provider may give each of its customers a /56 of the same /48."""
    neighbours = networks(100)
    assert heaviest([*neighbours, *["192.0.2.1"] * 7]) == ({"192.0.2.1"}, 7)
