"""What an instance remembers. Times are Unix seconds of this machine's clock, whatever the clock mode says."""

from __future__ import annotations

import time

import msgspec

NEVER = 253402300799.0
"""9999-12-31T23:59:59Z, which Zitadel means by "no expiry"."""
JWT = "ACCESS_TOKEN_TYPE_JWT"
BEARER = "ACCESS_TOKEN_TYPE_BEARER"
ACTIVE, INACTIVE, LOCKED = "ACTIVE", "INACTIVE", "LOCKED"
INITIAL = "INITIAL"


class Record(msgspec.Struct, kw_only=True):
    """Something with an id and the event-store details that every answer shows."""

    id: str
    sequence: int = 0
    created: float = 0
    changed: float = 0


class WebKey(Record, kw_only=True):
    """A key that signs tokens: INITIAL, then ACTIVE, then INACTIVE. `private` is PKCS#1 PEM."""

    private: str
    state: str


class UserKey(Record, kw_only=True):
    """A machine user's key. Works from `visible` on."""

    public: str
    expires: float
    visible: float


class Metadata(Record, kw_only=True):
    """Something written down about a user; its id is the key. `value` is base64."""

    value: str
    visible: float


class User(Record, kw_only=True):
    """A human or a machine. `admin` stands for IAM_OWNER. Once removed, it is still listed until `gone`."""

    user_name: str
    name: str
    machine: bool
    description: str = ""
    token_type: str = BEARER
    state: str = ACTIVE
    admin: bool = False
    password: str = ""
    visible: float = 0
    gone: float = 0
    keys: dict[str, UserKey] = {}
    metadata: dict[str, Metadata] = {}


class Pat(Record, kw_only=True):
    """A personal access token, kept under its SHA-256. Works from `visible` until `gone`, its removal, is seen."""

    user: str
    expires: float
    visible: float = 0
    gone: float = 0


class Role(Record, kw_only=True):
    """A role of a project; its id is the role's key."""

    display_name: str
    group: str
    visible: float


class App(Record, kw_only=True):
    """A client. `secret` is the SHA-256 of the client secret of an API application."""

    project: str
    name: str
    client_id: str
    secret: str = ""
    grant_types: tuple[str, ...] = ()
    token_type: str = BEARER
    role_assertion: bool = False
    redirect_uris: tuple[str, ...] = ()
    settings: dict[str, object] = {}
    visible: float = 0


class Project(Record, kw_only=True):
    """A project with its roles, by key, and its applications, by id."""

    name: str
    role_assertion: bool
    role_check: bool
    has_project_check: bool
    visible: float
    roles: dict[str, Role] = {}
    apps: dict[str, App] = {}


class Grant(Record, kw_only=True):
    """A user's roles in a project. Shows up in tokens from `visible` on."""

    user: str
    project: str
    roles: tuple[str, ...]
    visible: float
    active: bool = True


class Token(Record, kw_only=True):
    """An access token that is not revoked. `expires` and `issued` are of the double's clock, as in the token."""

    user: str
    client: str
    audience: tuple[str, ...]
    scopes: tuple[str, ...]
    issued: int
    expires: int
    pat: bool = False


class DeviceCode(Record, kw_only=True):
    """A device authorization (RFC 8628); its id is the device code. `state`: pending, approved, denied, used."""

    user_code: str
    client: str
    scopes: tuple[str, ...]
    expires: float
    state: str = "pending"
    user: str = ""


class AuthorizationCode(Record, kw_only=True):
    """What a signed-in browser brings back (RFC 6749, section 4.1.2); its id is the code."""

    client: str
    user: str
    scopes: tuple[str, ...]
    redirect_uri: str
    challenge: str
    expires: float
    nonce: str = ""


class Instance(msgspec.Struct, kw_only=True):
    """One tenant: what a Host name stands for. `secret` is the key of its opaque tokens (Fernet)."""

    domain: str
    secret: str
    organisation: Record
    own_project: str
    """The project that stands for Zitadel's own API: the audience its management calls ask for."""
    sequence: int = 0
    last_id: int = 0
    web_keys: list[WebKey] = []
    users: dict[str, User] = {}
    ghosts: dict[str, User] = {}
    pats: dict[str, Pat] = {}
    projects: dict[str, Project] = {}
    grants: dict[str, Grant] = {}
    tokens: dict[str, Token] = {}
    device_codes: dict[str, DeviceCode] = {}
    authorization_codes: dict[str, AuthorizationCode] = {}

    def new_id(self) -> str:
        """A decimal id of 18 digits that grows with time, also across restarts."""
        self.last_id = max(self.last_id + 1, time.time_ns() // 10)
        return str(self.last_id)

    def touch(self, record: Record) -> Record:
        """Count an event on `record`."""
        self.sequence += 1
        record.sequence, record.changed = self.sequence, time.time()
        record.created = record.created or record.changed
        return record

    def app(self, client_id: str) -> App | None:
        """The client of that id."""
        apps = (app for project in self.projects.values() for app in project.apps.values())
        return next((app for app in apps if app.client_id == client_id), None)

    def end_sessions(self, user: str) -> None:
        """Forget every token of a user: none of them works again."""
        self.tokens = {key: token for key, token in self.tokens.items() if token.user != user}
