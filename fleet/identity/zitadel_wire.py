"""The management API's shapes, as far as we read or write them. Protobuf's JSON leaves out what is empty."""

from __future__ import annotations

from typing import Any

import msgspec

Json = dict[str, Any]

JWT = "ACCESS_TOKEN_TYPE_JWT"
DEVICE_CODE = "OIDC_GRANT_TYPE_DEVICE_CODE"
CLI_APP: Json = {
    "appType": "OIDC_APP_TYPE_NATIVE",
    "authMethodType": "OIDC_AUTH_METHOD_TYPE_NONE",
    "grantTypes": [DEVICE_CODE],
    "responseTypes": ["OIDC_RESPONSE_TYPE_CODE"],
    "redirectUris": [],
    "accessTokenType": "OIDC_TOKEN_TYPE_JWT",
    "accessTokenRoleAssertion": True,
}


class Organisation(msgspec.Struct, frozen=True):
    """Who the admin's token belongs to."""

    id: str
    name: str = ""


class UserKey(msgspec.Struct, frozen=True, rename="camel"):
    """A machine user's key as it is listed."""

    id: str
    expiration_date: str = ""


class Done(msgspec.Struct, frozen=True):
    """Any answer that we only need to be one."""


class Id(msgspec.Struct, frozen=True):
    """`POST /projects`."""

    id: str


class Mine(msgspec.Struct, frozen=True):
    """`GET /orgs/me`."""

    org: Organisation


class Named(msgspec.Struct, frozen=True):
    """A project in a search."""

    id: str
    name: str


class Role(msgspec.Struct, frozen=True):
    """A role in a search."""

    key: str


class OidcConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The part of an application that logs people in."""

    client_id: str
    grant_types: tuple[str, ...] = ()


class App(msgspec.Struct, frozen=True, rename="camel"):
    """An application in a search; another kind has no `oidcConfig`."""

    name: str
    oidc_config: OidcConfig | None = None


class AddedApp(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /projects/{id}/apps/oidc`."""

    client_id: str


class Machine(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a user that is a machine. No type means opaque tokens."""

    access_token_type: str = ""


class User(msgspec.Struct, frozen=True, rename="camel"):
    """A user in a search; a person has no `machine`."""

    id: str
    user_name: str
    state: str
    machine: Machine | None = None


class AddedUser(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /users/machine`."""

    user_id: str


class Entry(msgspec.Struct, frozen=True):
    """What is written down about a user; `value` is base64."""

    value: str = ""


class Metadata(msgspec.Struct, frozen=True):
    """`GET /users/{id}/metadata/{key}`."""

    metadata: Entry = Entry()


class AddedKey(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /users/{id}/keys`; `key_details` is the key file in base64, a secret.

    It is empty where the caller gave the public half.
    """

    key_id: str
    key_details: str = ""

    def __repr__(self) -> str:
        return f"AddedKey(key_id={self.key_id!r}, key_details=...)"


class Grant(msgspec.Struct, frozen=True, rename="camel"):
    """A grant in a search."""

    id: str
    user_id: str
    project_id: str
    role_keys: tuple[str, ...] = ()
    state: str = "USER_GRANT_STATE_ACTIVE"


class AddedGrant(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /users/{id}/grants`."""

    user_grant_id: str


class Found(msgspec.Struct, frozen=True):
    """Any search."""

    result: tuple[Json, ...] = ()
