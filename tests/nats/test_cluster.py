"""Three real servers of NATS with the configuration and the certificates of an install: one may end."""

from __future__ import annotations

from pathlib import Path

from fleet.contract.buckets import Bucket
from fleet.contract.errors import Unreachable
from fleet.contract.wire import DeviceState
from fleet.install.secrets import ServerSecrets, new_password, server_secrets
from fleet.nats.bus import Bus, Entry
from fleet.secrets.file import FileSecretStore
from harness.processes.ports import free_port
from harness.processes.spawn import tail, terminate
from harness.wait import wait_until
from tests.contract.samples import SAMPLES
from tests.support.nats_cluster import HOST, Server, make_buckets, peers, play, start, together

STATES = Bucket("states", DeviceState)


def test_what_three_keep_survives_the_end_of_one(three: list[Server], secrets: ServerSecrets) -> None:
    wait_until(lambda: [server.healthy() for server in three], "all are healthy", timeout=30, until=all)
    state = SAMPLES["device-state"]
    assert isinstance(state, DeviceState)

    async def keep(bus: Bus) -> None:
        await bus.kv(STATES).put("pi-1.web", state)

    def read() -> object:
        """Until the two have agreed on who leads, nobody answers."""
        try:
            return play(three[1], secrets, lambda bus: bus.kv(STATES).get("pi-1.web"))
        except Unreachable:
            return None

    make_buckets(three[0], secrets, STATES)
    play(three[0], secrets, keep)
    three[0].process.kill()
    three[0].process.wait()
    entry = wait_until(read, "one of the others answers", timeout=60)
    assert isinstance(entry, Entry)
    assert entry.value == state


def test_a_stranger_is_no_replica(three: list[Server], secrets: ServerSecrets, tmp_path: Path) -> None:
    """With a certificate of ours but another password, a route is refused."""
    wait_until(lambda: [server.healthy() for server in three], "all are healthy", timeout=30, until=all)
    config = (tmp_path / "nats-0" / "nats.json").read_text()
    known = [int(word.rpartition(":")[2]) for word in config.split('"') if "nats-route" in word]
    routes = [*known, free_port()]
    stranger = start(tmp_path, 3, routes, secrets, "another-password")
    try:
        log = tmp_path / "nats-0.log"
        wait_until(
            lambda: tail(log, 50), "it is refused", timeout=20, until=lambda said: "authentication error" in said
        )
        assert not stranger.healthy()
    finally:
        terminate(stranger.process)


def test_the_password_between_them_is_renewed_with_two_of_three_together_at_every_moment(
    three: list[Server], secrets: ServerSecrets, tmp_path: Path
) -> None:
    """Servers are restarted one after the other for each step, and the two others go on to agree on what is written."""
    config = (tmp_path / "nats-0" / "nats.json").read_text()
    routes = [int(word.rpartition(":")[2]) for word in config.split('"') if "nats-route" in word]
    assert secrets.routes
    old, new = secrets.routes.password, new_password()
    together(three)
    make_buckets(three[0], secrets, STATES)
    for sent, accepted in ((old, {old, new}), (new, {old, new}), (new, {new})):
        for number in range(3):
            terminate(three[number].process)
            other = three[number - 1]
            wait_until(lambda one=other: written(one, secrets), "the two others take a write", timeout=60)
            ports = (three[number].port, three[number].monitor)
            three[number] = start(tmp_path, number, routes, secrets, sent, accepted=frozenset(accepted), ports=ports)
            together(three)
    logs = [(tmp_path / f"nats-{number}.log").read_text() for number in range(3)]
    assert not [line for log in logs for line in log.splitlines() if "uthori" in line or "uthentication" in line]
    stranger = start(tmp_path, 3, [*routes, free_port()], secrets, old)
    try:
        log = tmp_path / "nats-3.log"
        wait_until(lambda: tail(log, 50), "it is refused", timeout=20, until=lambda it: "Authorization Violation" in it)
        assert not stranger.healthy()
        assert not peers(stranger)
    finally:
        terminate(stranger.process)


def test_while_two_passwords_are_accepted_a_certificate_of_our_authority_is_required(
    secrets: ServerSecrets, tmp_path: Path
) -> None:
    """No password is required then: docs/decisions/066."""
    assert secrets.routes
    routes = [free_port() for _ in range(2)]
    foreign = server_secrets(FileSecretStore(tmp_path / "foreign"), [HOST], [HOST])
    password = secrets.routes.password
    accepted = frozenset({password, new_password()})
    ours = start(tmp_path, 0, routes, secrets, password, accepted=accepted)
    stranger = start(tmp_path, 1, routes, foreign, password, accepted=accepted)
    try:
        log = tmp_path / "nats-0.log"
        wait_until(lambda: tail(log, 50), "it is refused", timeout=30, until=lambda it: "handshake error" in it)
        assert not peers(ours)
        assert not peers(stranger)
    finally:
        terminate(stranger.process)
        terminate(ours.process)


def written(server: Server, secrets: ServerSecrets) -> bool:
    state = SAMPLES["device-state"]
    assert isinstance(state, DeviceState)
    try:
        play(server, secrets, lambda bus: bus.kv(STATES).put("pi-1.web", state))
    except Unreachable:
        return False
    return True
