"""Authorization requests as a nats-server signs them."""

from __future__ import annotations

import base64
import json

from fleet.nats.keys import Role, key_pair, new_seed, public_key

SERVER = new_seed(Role.SERVER)
USER = public_key(new_seed(Role.USER))


def question(seed: str = SERVER, *, alg: str = "ed25519-nkey", token: str = "the-token", **changes: object) -> bytes:
    """A request signed with `seed`; `changes` replace claims."""
    claims = {
        "aud": "nats-authorization-request",
        "iss": public_key(seed),
        "nats": {
            "server_id": {"id": public_key(SERVER), "name": "nats-0", "version": "2.15.2"},
            "user_nkey": USER,
            "client_info": {"host": "10.0.0.1", "id": 10, "name": "agent"},
            "connect_opts": {"auth_token": token, "lang": "python3"},
            "type": "authorization_request",
        },
        **changes,
    }
    signed = _part({"typ": "JWT", "alg": alg}) + b"." + _part(claims)
    return signed + b"." + base64.urlsafe_b64encode(key_pair(seed).sign(signed)).rstrip(b"=")


def _part(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
