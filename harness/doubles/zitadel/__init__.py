"""A stand-in for Zitadel: real state, real keys, and the answers that the identity reference lists.

    python -m harness.doubles.zitadel --state DIR --port N [--host H] [--tls-cert F --tls-key F] [--domain NAME ...]

Once it listens it prints one JSON line: `issuer`, `adminTokenFile`, `adminLogin`, `adminPasswordFile` of the first
domain. `GET /debug/ready` answers 200 from then on.

Domains: the issuer is the scheme and the Host header, and each `--domain` (default: `localhost` and `127.0.0.1`) is
an instance of its own with its own keys, users and administrators; any other host is answered 404, as Zitadel does.

Files, all mode 0600: `DIR/<domain>/state.json` (replaced whole at every change, so that nothing answered is lost with
the process), `DIR/<domain>/admin.pat` (the machine administrator's access token), `DIR/<domain>/admin.password` (the
human administrator `admin@fleet.<domain>`, who approves device codes at `GET/POST /device`: form fields `user_code`,
`login_name`, `password`, `action=allow|deny`; and signs in to applications at `GET/POST /oauth/v2/authorize`).

Control, with the first domain's access token as bearer, never itself slowed or failed:

| call | what it does |
|---|---|
| `GET /_double/modes` | the modes as they are: see `modes.Modes` |
| `PATCH /_double/modes` | changes the modes named; `faults` is replaced as a whole |
| `DELETE /_double/modes` | plays a healthy, newest Zitadel again |
| `POST /_double/keys/rotate` | the INITIAL web key becomes ACTIVE, the ACTIVE one INACTIVE, a new INITIAL one is made |
| `DELETE /_double/keys/inactive` | withdraws INACTIVE web keys from the key set |
| `GET /_double/calls` | how often each `METHOD path` was called since the start |

What it does not play: the authorization-code flow without PKCE, refresh tokens, v2 APIs, gRPC, more than one
organisation, and any permission but "administrator or not".
"""
