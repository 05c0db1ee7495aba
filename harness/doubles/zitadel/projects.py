"""Management of projects, their roles and applications, and the organisation they belong to."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.doubles.zitadel import crypto
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, ApiError
from harness.doubles.zitadel.guard import Search, Text, details, required, result
from harness.doubles.zitadel.records import App, Project, Role

Json = dict[str, Any]

_TOKEN_TYPES = {"OIDC_TOKEN_TYPE_BEARER": "ACCESS_TOKEN_TYPE_BEARER", "OIDC_TOKEN_TYPE_JWT": "ACCESS_TOKEN_TYPE_JWT"}
"""What an application calls the type, and what a user does."""


async def my_org(call: Call) -> Json:
    """`GET /orgs/me`."""
    org, domain = call.instance.organisation, f"fleet.{call.instance.domain}"
    about = {"id": org.id, "details": details(call, org), "state": "ORG_STATE_ACTIVE"}
    return {"org": {**about, "name": "fleet", "primaryDomain": domain}}


class AddProject(msgspec.Struct, rename="camel"):
    """`POST /projects`."""

    name: Text = ""
    project_role_assertion: bool = False
    project_role_check: bool = False
    has_project_check: bool = False


async def add_project(call: Call) -> Json:
    """Create a project; its name is unique."""
    body = await call.json(AddProject)
    required(body.name, "AddProjectRequest.Name")
    if any(project.name == body.name for project in call.instance.projects.values()):
        raise ApiError(ALREADY_EXISTS, "Project already exists on organization", "V3-DKcYh")
    project = Project(
        id=call.instance.new_id(),
        name=body.name,
        role_assertion=body.project_role_assertion,
        role_check=body.project_role_check,
        has_project_check=body.has_project_check,
        visible=call.appears(),
    )
    call.instance.projects[project.id] = project
    call.instance.touch(project)
    await call.save()
    return {"id": project.id, "details": details(call, project)}


async def search_projects(call: Call) -> Json:
    """`POST /projects/_search`."""
    search = await call.json(Search)
    projects = [project for project in call.instance.projects.values() if call.visible(project.visible)]
    return result(call, [({"nameQuery": project.name}, _shown(call, project)) for project in projects], search)


def _shown(call: Call, project: Project) -> Json:
    flags = {
        "projectRoleAssertion": project.role_assertion,
        "projectRoleCheck": project.role_check,
        "hasProjectCheck": project.has_project_check,
    }
    about = {"id": project.id, "details": details(call, project), "name": project.name}
    return {**about, "state": "PROJECT_STATE_ACTIVE", **{name: True for name, on in flags.items() if on}}


def _project(call: Call) -> Project:
    project = call.instance.projects.get(call.param("project"))
    if project is None:
        raise ApiError(NOT_FOUND, "Project not found", "COMMAND-7M0sd")
    return project


class AddRole(msgspec.Struct, rename="camel"):
    """`POST /projects/{id}/roles`."""

    role_key: Text = ""
    display_name: Text = ""
    group: Text = ""


async def add_role(call: Call) -> Json:
    """Add a role to a project; its key is unique there."""
    project, body = _project(call), await call.json(AddRole)
    required(body.role_key, "AddProjectRoleRequest.RoleKey")
    required(body.display_name, "AddProjectRoleRequest.DisplayName")
    if body.role_key in project.roles:
        raise ApiError(ALREADY_EXISTS, "Role already exists", "V3-DKcYh")
    role = Role(id=body.role_key, display_name=body.display_name, group=body.group, visible=call.appears())
    project.roles[role.id] = role
    call.instance.touch(role)
    await call.save()
    return {"details": details(call, role)}


async def search_roles(call: Call) -> Json:
    """`POST /projects/{id}/roles/_search`."""
    project, search = _project(call), await call.json(Search)
    rows: list[tuple[dict[str, str], Json]] = []
    for role in project.roles.values():
        if call.visible(role.visible):
            about = {"key": role.id, "details": details(call, role), "displayName": role.display_name}
            rows.append(({"keyQuery": role.id}, {**about, **({"group": role.group} if role.group else {})}))
    return result(call, rows, search)


class AddOidcApp(msgspec.Struct, rename="camel"):
    """`POST /projects/{id}/apps/oidc`. Only what the double acts upon is typed; the rest is in the app's config."""

    name: Text = ""
    grant_types: tuple[str, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    app_type: str = "OIDC_APP_TYPE_WEB"
    auth_method_type: str = "OIDC_AUTH_METHOD_TYPE_BASIC"
    access_token_type: str = "OIDC_TOKEN_TYPE_BEARER"  # noqa: S105
    access_token_role_assertion: bool = False


async def add_oidc_app(call: Call) -> Json:
    """Add an application that logs people in."""
    project, body = _project(call), await call.json(AddOidcApp)
    if body.access_token_type not in _TOKEN_TYPES:
        raise ApiError(INVALID_ARGUMENT, "proto: invalid value for enum field accessTokenType")
    secret = "" if body.auth_method_type == "OIDC_AUTH_METHOD_TYPE_NONE" else crypto.new_secret()
    app = _new_app(call, project, body.name, secret)
    app.grant_types = body.grant_types
    app.redirect_uris = body.redirect_uris
    app.token_type = _TOKEN_TYPES[body.access_token_type]
    app.role_assertion = body.access_token_role_assertion
    app.settings = {"oidcConfig": {"clientId": app.client_id, **msgspec.to_builtins(body)}}
    return await _added(call, app, secret)


class AddApiApp(msgspec.Struct, rename="camel"):
    """`POST /projects/{id}/apps/api`."""

    name: Text = ""


async def add_api_app(call: Call) -> Json:
    """Add an application that checks tokens (introspection), with a client secret."""
    project, body = _project(call), await call.json(AddApiApp)
    secret = crypto.new_secret()
    app = _new_app(call, project, body.name, secret)
    app.settings = {"apiConfig": {"clientId": app.client_id}}
    return await _added(call, app, secret)


def _new_app(call: Call, project: Project, name: str, secret: str) -> App:
    required(name, "AddAppRequest.Name")
    if any(app.name == name for app in project.apps.values()):
        raise ApiError(ALREADY_EXISTS, "Application already exists", "V3-DKcYh")
    app = App(
        id=call.instance.new_id(),
        project=project.id,
        name=name,
        client_id=call.instance.new_id(),
        secret=crypto.digest(secret) if secret else "",
        visible=call.appears(),
    )
    project.apps[app.id] = app
    return app


async def _added(call: Call, app: App, secret: str) -> Json:
    call.instance.touch(app)
    await call.save()
    answer: Json = {"appId": app.id, "details": details(call, app), "clientId": app.client_id}
    return {**answer, "clientSecret": secret} if secret else answer


async def search_apps(call: Call) -> Json:
    """`POST /projects/{id}/apps/_search`."""
    project, search = _project(call), await call.json(Search)
    rows: list[tuple[dict[str, str], Json]] = []
    for app in project.apps.values():
        if call.visible(app.visible):
            about = {"id": app.id, "details": details(call, app), "state": "APP_STATE_ACTIVE", "name": app.name}
            rows.append(({"nameQuery": app.name}, {**about, **app.settings}))
    return result(call, rows, search)
