"""The plan is pure: the same words in, the same plan out; and each part's files are what the part reads."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from fleet.contract.announcement import server_info
from fleet.contract.config import CalloutConfig, OperatorConfig, load_config
from fleet.contract.errors import InvalidInput
from fleet.install.identity import PROVIDER_SECRETS
from fleet.install.plan import ServerSettings, server_plan
from fleet.install.secrets import ServerSecrets, server_secrets
from fleet.install.tls import covers, new_authority, new_key, new_server_certificate
from fleet.rotation.catalogue import SECRETS, find
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import Change
from fleet.topology.capabilities import Endpoint, Endpoints, Service
from fleet.topology.kubernetes.options import Cluster, nats_image, shape_of
from fleet.topology.kubernetes.pods import pod_template
from fleet.topology.place_options import PlaceOptions

SETTINGS = ServerSettings("here", "https://id.example.org", "THEIR CA\n", "project-1", "client-1", "v0.1.0")
ENDPOINTS = Endpoints(
    listen_host="127.0.0.1",
    nats=Endpoint("localhost", 4222),
    nats_public=Endpoint("nats.example.org", 443),
    nats_monitor=8222,
    callout_health=8081,
    operator_health=8082,
    operator_kubeconfig="{files}/kubeconfig",
)
HOSTS = ["nats.example.org", "localhost", "127.0.0.1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def secrets(folder: Path) -> ServerSecrets:
    return server_secrets(FileSecretStore(folder), HOSTS)


@pytest.fixture
def services(secrets: ServerSecrets) -> dict[str, Service]:
    return {item.name: item for item in server_plan(SETTINGS, secrets, ENDPOINTS).services}


def test_the_operator_is_told_how_many_callouts_there_are(secrets: ServerSecrets, tmp_path: Path) -> None:
    """Or its web page could not miss one that is silent while another answers."""
    places = msgspec.structs.replace(ENDPOINTS, callout_replicas=3)
    operator = next(one for one in server_plan(SETTINGS, secrets, places).services if one.name == "operator")
    path = tmp_path / "operator.json"
    path.touch(mode=0o600)
    path.write_bytes(operator.files["operator.json"])
    assert load_config(path, OperatorConfig).callouts == 3


def test_the_operator_is_told_how_old_every_secret_is_and_no_value_of_another(tmp_path: Path) -> None:
    store = FileSecretStore(tmp_path / "secrets")
    peers = [Endpoint(f"nats-{number}.nats", 6222) for number in range(3)]
    places = msgspec.structs.replace(ENDPOINTS, nats_peers=tuple(peers), operator_web=8083)
    made = server_secrets(store, HOSTS, [peer.host for peer in peers], places.web_hosts)
    (service,) = [one for one in server_plan(SETTINGS, made, places).services if one.name == "operator"]
    path = tmp_path / "operator.json"
    path.write_bytes(service.files["operator.json"])
    path.chmod(0o600)
    told = {one.name: one for one in load_config(path, OperatorConfig).secret_ages}
    assert told.keys() == {secret.name for secret in SECRETS if secret.rotation} - {*PROVIDER_SECRETS}
    now = datetime.now(UTC).timestamp()
    assert all(now - 60 < one.made <= now for one in told.values())
    assert {name for name, one in told.items() if one.ends} == {"ca_key", "nats_tls_key", "web_tls_key"}
    text = service.files["operator.json"].decode()
    assert not [name for name in ("nats_route_pass", "nats_issuer_seed") if (store.get(name) or b"").decode() in text]


def test_the_same_words_give_the_same_plan(secrets: ServerSecrets, folder: Path) -> None:
    again = server_secrets(FileSecretStore(folder), HOSTS)
    assert server_plan(SETTINGS, secrets, ENDPOINTS) == server_plan(SETTINGS, again, ENDPOINTS)


def test_every_object_is_named_and_at_home(secrets: ServerSecrets) -> None:
    plan = server_plan(SETTINGS, secrets, ENDPOINTS)
    kinds = [item["kind"] for item in plan.objects]
    assert kinds[0] == "Namespace"
    assert {"CustomResourceDefinition", "ServiceAccount", "Role", "RoleBinding"} <= set(kinds)
    for item in (*plan.objects, plan.announcement):
        assert item["metadata"].get("namespace", "here") == "here"
        assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "fleet"


def test_the_announcement_tells_admins_no_secret(secrets: ServerSecrets) -> None:
    announcement = server_plan(SETTINGS, secrets, ENDPOINTS).announcement
    info = server_info(announcement)
    assert info.nats_url == "tls://nats.example.org:443"
    assert info.ca == secrets.authority + "THEIR CA\n"
    assert (info.issuer, info.project_id, info.cli_client_id) == (SETTINGS.issuer, "project-1", "client-1")


def test_the_parts_read_their_files(services: dict[str, Service], tmp_path: Path) -> None:
    def written(part: str) -> Path:
        path = tmp_path / f"{part}.json"
        path.touch(0o600)
        path.write_bytes(services[part].files[path.name])
        return path

    callout = load_config(written("callout"), CalloutConfig)
    assert (callout.nats_url, callout.health_port) == ("tls://localhost:4222", services["callout"].health_port)
    operator = load_config(written("operator"), OperatorConfig)
    assert (operator.namespace, operator.kubeconfig) == ("here", "{files}/kubeconfig")
    assert operator.health_port == services["operator"].health_port


def test_nats_and_its_parts_agree(services: dict[str, Service], secrets: ServerSecrets) -> None:
    nats: Any = msgspec.json.decode(services["nats"].files["nats.json"])
    assert nats["port"] == services["nats"].ports["nats"] == 4222
    assert nats["authorization"]["auth_callout"]["issuer"] == secrets.issuer
    assert nats["jetstream"]["store_dir"] == "{data}"


def test_the_kubelet_asks_nats_inside_its_own_pod(services: dict[str, Service]) -> None:
    """Its monitor listens on 127.0.0.1, so no port of it is open, and probes run in its container."""
    shape = shape_of(PlaceOptions(nats_address="nats.example.org"), Cluster(frozenset()))
    (container,) = pod_template(services["nats"], shape, "digest")["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == ["nats"]
    asked = {name: container[name]["exec"]["command"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    url = "http://127.0.0.1:8222/healthz"
    assert asked["readinessProbe"] == ["wget", "-q", "-O", "/dev/null", url]
    assert (
        asked["startupProbe"]
        == asked["livenessProbe"]
        == ["wget", "-q", "-O", "/dev/null", f"{url}?js-enabled-only=true"]
    )


@pytest.mark.parametrize("image", ["nats", "nats:2.15", "docker.io/library/nats:2.15", "registry.example.org/nats:2"])
def test_an_image_that_is_known_to_lack_wget_is_refused(image: str) -> None:
    with pytest.raises(InvalidInput, match="holds no wget"):
        nats_image(image)


@pytest.mark.parametrize("image", ["nats:2.15-alpine", "nats:alpine", "localhost/fleet-nats:2", "a/nats@sha256:0"])
def test_any_other_image_is_taken(image: str) -> None:
    assert nats_image(image) == image


def test_secrets_do_not_show_themselves(secrets: ServerSecrets) -> None:
    assert repr(secrets) == "ServerSecrets(...)"
    assert secrets.passwords.app not in repr(secrets.passwords)


def test_no_argument_holds_a_secret(services: dict[str, Service], folder: Path) -> None:
    values = {path.read_text().strip() for path in folder.iterdir()}
    assert not values & {arg for item in services.values() for arg in item.args}


def handshake(certificate: bytes, key: bytes, authority: str, host: str, folder: Path) -> None:
    """A TLS handshake in memory, as a client that trusts only the authority."""
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    client = ssl.create_default_context(cadata=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(a, b, server_hostname=host)
    theirs = server.wrap_bio(b, a, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.mark.parametrize("host", HOSTS)
def test_the_certificate_holds_for_every_name(secrets: ServerSecrets, tmp_path: Path, host: str) -> None:
    handshake(secrets.nats_certificate, secrets.nats_key, secrets.authority, host, tmp_path)


def test_the_certificate_holds_for_no_other_name(secrets: ServerSecrets, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(secrets.nats_certificate, secrets.nats_key, secrets.authority, "other.example.org", tmp_path)


def test_another_authority_is_not_trusted(secrets: ServerSecrets, tmp_path: Path) -> None:
    other = new_authority(new_key(), "fleet")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(secrets.nats_certificate, secrets.nats_key, other.decode(), "localhost", tmp_path)


def test_a_new_name_is_signed_by_the_same_authority_for_the_same_key(tmp_path: Path) -> None:
    store = FileSecretStore(tmp_path / "secrets")
    before = server_secrets(store, ["localhost"])
    after = server_secrets(store, ["localhost", "nats.example.org"])
    assert (after.authority, after.nats_key) == (before.authority, before.nats_key)
    assert covers(after.nats_certificate, ["localhost", "nats.example.org"])
    handshake(after.nats_certificate, after.nats_key, before.authority, "nats.example.org", tmp_path)


def test_a_third_install_with_a_new_name_changes_nothing_more(tmp_path: Path) -> None:
    """A certificate made anew at each install would restart NATS each time."""
    store = FileSecretStore(tmp_path / "secrets")
    server_secrets(store, ["localhost"])
    names = ["localhost", "nats.example.org"]
    assert server_secrets(store, names) == server_secrets(store, names)


def test_a_certificate_names_addresses_as_addresses() -> None:
    key = new_key()
    authority = new_authority(key, "fleet")
    certificate = new_server_certificate(new_key(), key, authority, ["127.0.0.1", "::1"])
    assert covers(certificate, ["127.0.0.1", "::1"])
    assert not covers(certificate, ["localhost"])


def test_another_key_gets_a_certificate_of_its_own_and_the_same_at_every_install(tmp_path: Path) -> None:
    """What has trusted the server before trusts it with the new key."""
    store = FileSecretStore(tmp_path / "secrets")
    before = server_secrets(store, HOSTS)
    for change in (Change.STAGE, Change.PROMOTE, Change.RETIRE):
        kept = store.versions("nats_tls_key")
        assert kept
        store.change("nats_tls_key", kept, change, new_key() if change is Change.STAGE else b"")
    after = server_secrets(store, HOSTS)
    assert after == server_secrets(store, HOSTS)
    assert after.nats_key != before.nats_key
    handshake(after.nats_certificate, after.nats_key, before.authority, "nats.example.org", tmp_path)
    with pytest.raises(ssl.SSLError):
        handshake(before.nats_certificate, after.nats_key, before.authority, "localhost", tmp_path)


def test_a_servers_certificate_lasts_longer_than_it_takes_to_be_due_and_no_decade(secrets: ServerSecrets) -> None:
    lasts = x509.load_pem_x509_certificate(secrets.nats_certificate).not_valid_after_utc - datetime.now(UTC)
    assert find("nats_tls_key").good_for < lasts < timedelta(days=3 * 365)
