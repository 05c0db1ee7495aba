"""What enrollment, revocation and an install need of Zitadel, each call idempotent.

A search shows a new object only once Zitadel's projections have caught up, while a second creation is refused at once.
So whatever is ensured is looked for, created if it is not seen, and, if the creation says that it exists, looked for
until it shows.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from fleet.contract.config import MachineKey
from fleet.contract.errors import Conflict, InvalidInput, NotFound, TimedOut
from fleet.contract.grammar import validation_words
from fleet.identity import zitadel_wire as wire
from fleet.identity.tokens import parse_machine_key_file
from fleet.identity.zitadel_api import AlreadyExists, Api
from fleet.process.retry import retrying

Json = dict[str, Any]
T = TypeVar("T")

_CATCH_UP = 20.0
"""Seconds that projections get to show what exists."""


class MachineUser(msgspec.Struct, frozen=True):
    """A machine user. `active` is false while it is deactivated or locked; `created` if this call made it."""

    id: str
    user_name: str
    active: bool = True
    created: bool = False


class Zitadel:
    """The management client. Every method raises what `Api.call` raises, and TimedOut where it waits for projections.

    `catch_up` is how many seconds it waits for those.
    """

    def __init__(self, issuer: str, ca: str, token: str, *, timeout: float = 10, catch_up: float = _CATCH_UP) -> None:
        self.api = Api(issuer, ca, token, timeout=timeout)
        self._catch_up = catch_up

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.api.close()

    def check(self) -> wire.Organisation:
        """Make sure that the issuer is the one meant and the token an admin's, before anything is changed."""
        self.api.discover()
        return self.api.call("GET", "/orgs/me", None, wire.Mine).org

    def ensure_project(self, name: str) -> str:
        """The id of the project of that name; its roles are asserted in tokens."""
        body = {"name": name, "projectRoleAssertion": True, "projectRoleCheck": False, "hasProjectCheck": False}

        def find() -> str | None:
            found = self._search("/projects", _text("name", name), wire.Named)
            return next((project.id for project in found if project.name == name), None)

        return self._ensure(
            f"project {name!r}",
            find,
            lambda: self.api.call("POST", "/projects", body, wire.Id).id,
        )

    def ensure_role(self, project: str, key: str, display_name: str) -> None:
        """Make the project (by id) have a role."""
        path = f"/projects/{project}/roles"

        def find() -> str | None:
            found = self._search(path, _text("key", key), wire.Role)
            return next((role.key for role in found if role.key == key), None)

        def create() -> str:
            self.api.call("POST", path, {"roleKey": key, "displayName": display_name, "group": ""}, wire.Done)
            return key

        self._ensure(f"role {key!r}", find, create)

    def ensure_cli_app(self, project: str, name: str) -> str:
        """The client id of the project's native application for device-code logins.

        Raises:
            Conflict: there is an application of that name, but of another kind.
        """
        path = f"/projects/{project}/apps"

        def find() -> str | None:
            found = self._search(path, _text("name", name), wire.App)
            app = next((app for app in found if app.name == name), None)
            return self._device_client(app) if app is not None else None

        return self._ensure(
            f"application {name!r}",
            find,
            lambda: self.api.call("POST", f"{path}/oidc", {"name": name, **wire.CLI_APP}, wire.AddedApp).client_id,
        )

    def _device_client(self, app: wire.App) -> str:
        if app.oidc_config is None or wire.DEVICE_CODE not in app.oidc_config.grant_types:
            raise Conflict(
                f"the application {app.name!r} at {self.api.issuer} is not one for device-code logins",
                next_step="rename or remove it in Zitadel's console, then run this again",
            )
        return app.oidc_config.client_id

    def find_user(self, user_name: str) -> MachineUser | None:
        """The machine user of that name, as far as the projections show it.

        Raises:
            Conflict: the name belongs to a person, or to a machine whose tokens we could not check.
        """
        found = self._search("/users", _text("userName", user_name), wire.User)
        user = next((user for user in found if user.user_name == user_name), None)
        if user is None:
            return None
        if user.machine is None or user.machine.access_token_type != wire.JWT:
            raise Conflict(
                f"{user_name!r} at {self.api.issuer} is not a machine user with JWT access tokens",
                next_step="remove or rename that user in Zitadel's console, or choose another device id",
            )
        return MachineUser(user.id, user_name, user.state == "USER_STATE_ACTIVE")

    def machine_users(self, prefix: str) -> list[MachineUser]:
        """The machine users whose names begin so, as far as the projections show them."""
        query: Json = {"userNameQuery": {"userName": prefix, "method": "TEXT_QUERY_METHOD_STARTS_WITH"}}
        return [
            MachineUser(user.id, user.user_name, user.state == "USER_STATE_ACTIVE")
            for user in self._search("/users", [query], wire.User)
            if user.machine is not None and user.user_name.startswith(prefix)
        ]

    def ensure_machine_user(self, user_name: str, name: str, description: str) -> MachineUser:
        """The machine user of that name; its access tokens are JWTs."""
        body = {"userName": user_name, "name": name, "description": description, "accessTokenType": wire.JWT}

        def create() -> MachineUser:
            added = self.api.call("POST", "/users/machine", body, wire.AddedUser)
            return MachineUser(added.user_id, user_name, created=True)

        return self._ensure(f"user {user_name!r}", lambda: self.find_user(user_name), create)

    def set_metadata(self, user: str, key: str, value: str) -> None:
        """Write down something about a user (by id)."""
        body = {"value": base64.b64encode(value.encode()).decode()}
        self.api.call("POST", f"/users/{user}/metadata/{key}", body, wire.Done)

    def metadata(self, user: str, key: str) -> str | None:
        """What is written down about a user (by id), as far as the projections show it."""
        try:
            found = self.api.call("GET", f"/users/{user}/metadata/{key}", None, wire.Metadata).metadata
            return base64.b64decode(found.value, validate=True).decode()
        except NotFound:
            return None
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"the metadata {key} of user {user} at {self.api.issuer} is no text", next_step="see it in the console"
            ) from error

    def create_key(self, user: str, expires: datetime | None = None) -> MachineKey:
        """A new key for a machine user (by id); it is shown only this once. Never expires unless told when."""
        body: Json = {"type": "KEY_TYPE_JSON"}
        if expires is not None:
            body["expirationDate"] = expires.astimezone(UTC).isoformat().replace("+00:00", "Z")
        added = self.api.call("POST", f"/users/{user}/keys", body, wire.AddedKey)
        try:
            file = base64.b64decode(added.key_details, validate=True)
        except binascii.Error as error:
            raise InvalidInput(
                f"{self.api.issuer} created key {added.key_id}, but not in base64", next_step="see Zitadel's log"
            ) from error
        return parse_machine_key_file(file)

    def register_key(self, user: str, public: str) -> str:
        """Let a machine user (by id) come in by a key of which only the public half (PEM) is known here; its id.

        Raises:
            InvalidInput: it is no public half of an RSA key, or this Zitadel makes a key of its own instead.
        """
        body = {"type": "KEY_TYPE_JSON", "publicKey": base64.b64encode(public.encode()).decode()}
        added = self.api.call("POST", f"/users/{user}/keys", body, wire.AddedKey)
        if b'"key":' in base64.b64decode(added.key_details):
            self.remove_key(user, added.key_id)
            raise InvalidInput(
                f"{self.api.issuer} takes no key that was made elsewhere",
                next_step="bring Zitadel to a version that does, or enroll the device again with --replace",
            )
        return added.key_id

    def keys(self, user: str) -> tuple[wire.UserKey, ...]:
        """The keys of a machine user (by id), as far as the projections show them."""
        return self._search(f"/users/{user}/keys", None, wire.UserKey)

    def remove_key(self, user: str, key: str) -> None:
        """Remove a key; nothing if it, or the user, is gone. Tokens it got stay valid until they expire."""
        self._unless(NotFound, "DELETE", f"/users/{user}/keys/{key}")

    def clock(self) -> int:
        """The issuer's clock, in Unix seconds, as it answers now.

        Raises:
            NotPermitted: it is so far from ours that one of the two is wrong.
            InvalidInput: it does not tell.
        """
        return self.api.clock()

    def ensure_grant(self, user: str, project: str, role: str) -> None:
        """Make a user (by id) have a role in a project (by id)."""
        path = f"/users/{user}/grants"

        def find() -> wire.Grant | None:
            queries = [{"userIdQuery": {"userId": user}}, {"projectIdQuery": {"projectId": project}}]
            found = self._search("/users/grants", queries, wire.Grant)
            return next((grant for grant in found if grant.project_id == project and grant.user_id == user), None)

        def create() -> wire.Grant:
            added = self.api.call("POST", path, {"projectId": project, "roleKeys": [role]}, wire.AddedGrant)
            return wire.Grant(added.user_grant_id, user, project, (role,))

        grant = self._ensure(f"the grant of {role!r} to user {user}", find, create)
        if role not in grant.role_keys:
            self._unless(Conflict, "PUT", f"{path}/{grant.id}", {"roleKeys": [*grant.role_keys, role]})
        if grant.state == "USER_GRANT_STATE_INACTIVE":
            self._unless(Conflict, "POST", f"{path}/{grant.id}/_reactivate")

    def deactivate(self, user: str) -> None:
        """Let a user get no more tokens; tokens that it has stay valid where they are checked offline."""
        self._unless(Conflict, "POST", f"/users/{user}/_deactivate")

    def reactivate(self, user: str) -> None:
        """Let a deactivated user in again; its old tokens stay dead to introspection."""
        self._unless(Conflict, "POST", f"/users/{user}/_reactivate")

    def delete_user(self, user: str) -> None:
        """Remove a user with its keys and grants, and return once it is no longer listed; nothing if it is gone."""
        self._unless(NotFound, "DELETE", f"/users/{user}")

        def gone() -> bool | None:
            try:
                self.api.call("GET", f"/users/{user}", None, wire.Done)
            except NotFound:
                return True
            return None

        # Else a search for its name, before a new enrollment, might still find the old user.
        self._caught_up(gone, f"user {user} was removed at {self.api.issuer}, but was still listed")

    def _unless(self, known: type[NotFound | Conflict], method: str, path: str, body: Json | None = None) -> None:
        """Call, and take it as done if the API says by `known` that it was."""
        try:
            self.api.call(method, path, {} if method != "DELETE" and body is None else body, wire.Done)
        except known:
            return

    def _search(self, path: str, queries: list[Json] | None, kind: type[T]) -> tuple[T, ...]:
        body: Json = {"queries": queries} if queries else {}
        found = self.api.call("POST", f"{path}/_search", body, wire.Found)
        try:
            return tuple(msgspec.convert(row, kind) for row in found.result)
        except msgspec.ValidationError as error:
            raise InvalidInput(
                f"{self.api.issuer} lists {path} in a shape we do not know: {validation_words(error)}",
                next_step="is that Zitadel, of a version that has the management API v1?",
            ) from error

    def _ensure(self, what: str, find: Callable[[], T | None], create: Callable[[], T]) -> T:
        seen = find()
        if seen is not None:
            return seen
        try:
            return create()
        except AlreadyExists:
            return self._caught_up(find, f"{what} exists at {self.api.issuer}, but did not show")

    def _caught_up(self, look: Callable[[], T | None], what: str) -> T:
        try:
            return retrying(timeout=self._catch_up, longest_pause=1)(_NotSeen, _must_see, look)
        except _NotSeen as error:
            raise TimedOut(
                f"{what} within {self._catch_up:g} s",
                next_step="run the command again once Zitadel has caught up; does it belong to another organisation?",
            ) from error


class _NotSeen(Exception):  # noqa: N818 - a step of the wait
    pass


def _must_see(find: Callable[[], T | None]) -> T:
    seen = find()
    if seen is None:
        raise _NotSeen
    return seen


def _text(field: str, value: str) -> list[Json]:
    return [{f"{field}Query": {field: value, "method": "TEXT_QUERY_METHOD_EQUALS"}}]
