"""Management of grants: which roles of which project a user has."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import ALREADY_EXISTS, FAILED_PRECONDITION, NOT_FOUND, ApiError
from harness.doubles.zitadel.guard import Search, details, result, user_of
from harness.doubles.zitadel.records import Grant

Json = dict[str, Any]


class GrantRoles(msgspec.Struct, rename="camel"):
    """`POST /users/{id}/grants`, and without the project `PUT /users/{id}/grants/{grant}`."""

    project_id: str = ""
    role_keys: tuple[str, ...] = ()


async def add_grant(call: Call) -> Json:
    """Grant roles to a user; once per project, more roles are an update."""
    user, body = call.instance.users.get(call.param("user")), await call.json(GrantRoles)
    if user is None:
        raise ApiError(FAILED_PRECONDITION, "User could not be found", "COMMAND-4f8sg")
    _check_roles(call, body.project_id, body.role_keys)
    grants = call.instance.grants
    if any((grant.user, grant.project) == (user.id, body.project_id) for grant in grants.values()):
        raise ApiError(ALREADY_EXISTS, "User grant already exists", "V3-DKcYh")
    grant = Grant(
        id=call.instance.new_id(),
        user=user.id,
        project=body.project_id,
        roles=body.role_keys,
        visible=call.appears(),
    )
    grants[grant.id] = grant
    call.instance.touch(grant)
    await call.save()
    return {"userGrantId": grant.id, "details": details(call, grant)}


def _check_roles(call: Call, project_id: str, roles: tuple[str, ...]) -> None:
    project = call.instance.projects.get(project_id)
    if project is None:
        raise ApiError(FAILED_PRECONDITION, "Project not found", "COMMAND-3n77S")
    if not set(roles) <= set(project.roles):
        raise ApiError(FAILED_PRECONDITION, "Role not found", "COMMAND-mm9F4")


def _grant(call: Call) -> Grant:
    user, grant = user_of(call), call.instance.grants.get(call.param("grant"))
    if grant is None or grant.user != user.id:
        raise ApiError(NOT_FOUND, "User grant not found", "COMMAND-1N8sd")
    return grant


async def update_grant(call: Call) -> Json:
    """Replace the roles of a grant."""
    grant, body = _grant(call), await call.json(GrantRoles)
    _check_roles(call, grant.project, body.role_keys)
    if set(grant.roles) == set(body.role_keys):
        raise ApiError(FAILED_PRECONDITION, "No Changes", "COMMAND-Rs8fy")
    grant.roles = body.role_keys
    return await _done(call, grant)


async def remove_grant(call: Call) -> Json:
    """Take a grant back."""
    grant = _grant(call)
    del call.instance.grants[grant.id]
    return await _done(call, grant)


async def change_grant(call: Call) -> Json:
    """`_deactivate` or `_reactivate` a grant: new tokens carry its roles or not (CVE-2024-46999)."""
    grant, active = _grant(call), call.request.url.path.endswith("/_reactivate")
    if grant.active == active:
        raise ApiError(FAILED_PRECONDITION, "No Changes", "COMMAND-1S9gx")
    grant.active = active
    return await _done(call, grant)


async def _done(call: Call, grant: Grant) -> Json:
    call.instance.touch(grant)
    await call.save()
    return {"details": details(call, grant)}


async def search_grants(call: Call) -> Json:
    """`POST /users/grants/_search`."""
    search = await call.json(Search)
    grants = [grant for grant in call.instance.grants.values() if call.visible(grant.visible)]
    return result(
        call, [({"userIdQuery": g.user, "projectIdQuery": g.project}, _shown(call, g)) for g in grants], search
    )


def _shown(call: Call, grant: Grant) -> Json:
    return {
        "id": grant.id,
        "details": details(call, grant),
        "roleKeys": list(grant.roles),
        "state": f"USER_GRANT_STATE_{'ACTIVE' if grant.active else 'INACTIVE'}",
        "userId": grant.user,
        "projectId": grant.project,
    }
