"""What is fuzzed, and what each begins with: values as they are, and what was once found."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.decoders import DECODERS, Decoder, refuses
from tests.fuzz.passes import END, decide

_HERE = Path(__file__).parent
CASES = _HERE / "cases"
"""An input that was once found, in a folder of what it was found with; its name says what it did."""
_GOLDEN = _HERE.parent / "contract" / "golden" / "n"
_OBJECT = (
    b'{"metadata":{"name":"pi-1","resourceVersion":"7","uid":"u","generation":1,"creationTimestamp":"2026-01-01T00:00:00Z",'
    b'"finalizers":["fleet.nationtech.io/keys"]},"spec":{"subject":"1","labels":{"a":"b"}},"status":{"conditions":[]}}'
)
_DEPLOYED = _OBJECT.replace(b'"subject":"1","labels":{"a":"b"}', b'"workload":{"type":"container","image":"a:1"}')
_JOURNAL = (
    b'{"type":"journal","schema":1,"committed":{"version":"v0.1.0","digest":"sha256:'
    + b"0" * 64
    + b'"},"candidate":null}'
)
_SEEDS: dict[str, list[bytes]] = {
    "traced": [
        b'{"server":{"id":"N"},"request":{},"events":[{"type":"in","kind":0,"cid":47}]}',
        b'\xff\x06\x00\x00sNaPpY\x00\x1b\x00\x00sums\x80\x01\x2c{"server":{\x11\x04\x00"}',
    ],
    "headers": [b"NATS/1.0 503 No\r\nKV-Operation: DEL\r\n\r\n\x00$JS.ACK.a.b", b"NATS/1.0\r\nStatus: 1\r\n\r\n"],
    "names": [b"pi-1", b"v1.2.3-rc.1+x", b"sha256:" + b"0" * 64],
    "printed": ["a\x1b[2J\u202eb\ufeff💣".encode()],
    "object-device": [_OBJECT],
    "object-deployment": [_DEPLOYED],
    "engine": [
        b'{"Id":"a","State":{"Status":"running","Health":{"Status":"healthy"}},"Config":{"Labels":{"a":"b"}}}',
        b'{"message":"no such container"}',
        b'[{"Id":"a","Names":["/x"]}]',
    ],
    "issuer": [
        b'{"issuer":"https://id.example.org","token_endpoint":"https://id.example.org/t","jwks_uri":"https://id.example.org/k"}',
        b'{"access_token":"a.b.c","expires_in":60,"error":"invalid_grant","error_description":"no"}',
    ],
    "login-question": [b"eyJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJpc3MiOiJOQSIsImF1ZCI6Im5hdHMifQ.AAAA"],
    "login-token": [b"eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJ4In0.AAAA"],
    "manifest": [(_GOLDEN / "signed-manifest.json").read_bytes()],
    "manifest-unproven": [(_GOLDEN / "signed-manifest.json").read_bytes()],
    "release-keys": [(_GOLDEN / "offered-keys.json").read_bytes()],
    "journal": [_JOURNAL],
    "journal-launcher": [_JOURNAL],
    "disk-state": [b'{"wishes":{"web":{"generation":1,"workload":null,"problem":null}},"leaving":["a"],"schema":1}'],
    "disk-form": [b'{"schema":2}'],
    "disk-owners": [b'[{"device":"pi-1","server":"00"}]'],
    "disk-record": [b'{"attempts":1,"at":1.5,"names":["a"]}'],
    "kubeconfig": [
        b"current-context: a\n"
        b"clusters: [{name: a, cluster: {server: 'https://a:1', certificate-authority-data: YQ==}}]\n"
        b"users: [{name: a, user: {token: t}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n",
        b'{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"clusters":[{"name":"a",'
        b'"cluster":{"server":"https://a","certificate-authority":"/a"}}],"users":[{"name":"a","user":{"exec":'
        b'{"command":"./a","apiVersion":"v1","env":[{"name":"a","value":"b"}]},"client-key":"/k"}}]}',
    ],
    "lab": [
        b'{"kubeconfig":"/k","namespace":"f","issuer":"https://i","issuer_ca":"/c","lab":{"boards":{},"processes":true}}'
    ],
    "passes": [
        END.join(
            bytes([number]) + key + b"\x00" + (_GOLDEN / f"{name}.json").read_bytes()
            for number, key, name in (
                *((0, b"", "device-info"), (1, b"", "device-states")),
                *((2, b"", "heartbeat"), (3, b"", "agent-lease"), (2, b"", "heartbeat")),
            )
        )
    ],
}
_NAMES = {"DesiredIndex": "desired-index", "Desired": "desired", "Heartbeat": "heartbeat", "Identity": "identity"}


def _looked(name: str, look: Decoder) -> Decoder:
    del name
    return lambda data: refuses(look, data)


LOOKS: dict[str, Decoder] = {**{name: _looked(name, look) for name, look in DECODERS.items()}, "passes": decide}
"""By name: each takes any bytes, and raises only when it found something."""


def seeds(name: str) -> list[bytes]:
    """What a fuzzer begins with."""
    kind, _, of = name.partition("-")
    if kind in {"wire", "config"}:
        file = _NAMES.get(of) or "".join(f"-{it.lower()}" if it.isupper() else it for it in of).lstrip("-")
        found = [(_GOLDEN / f"{file}.json").read_bytes()]
    else:
        found = list(_SEEDS[name])
    return [*found, *(path.read_bytes() for path in cases(name))]


def cases(name: str) -> list[Path]:
    """The inputs that were once found."""
    return sorted((CASES / name).glob("*")) if (CASES / name).is_dir() else []
