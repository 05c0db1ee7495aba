"""The desired state of an install: a fleet server in a namespace, trusting one identity provider."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from fleet.contract.announcement import server_info
from fleet.contract.config import DEFAULT_NAMESPACE, DEVICE_ROLE, VIEWER_ROLE, SecretAge, UpgradeRules
from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.contract.logs import LOG_READER_SECRET
from fleet.contract.objects import SERVER_CONFIG_MAP
from fleet.identity.zitadel import Zitadel
from fleet.install.authority import Authority
from fleet.install.identity import ADMIN, ADMIN_PASSWORD, PROVIDER_KEY, PROVIDER_SECRETS, identity_services
from fleet.install.plan import Install, ServerPlan, ServerSettings, server_objects, server_plan
from fleet.install.rbac import web_rbac
from fleet.install.secrets import ServerSecrets, made_at, server_secrets
from fleet.install.tls import ends
from fleet.secrets.draft import DraftSecretStore
from fleet.secrets.store import SecretStore
from fleet.topology.admin import AdminAuth, Tell
from fleet.topology.capabilities import Applied, Endpoint, Endpoints, Preview, PreviewsChanges, ServerPlace, Service
from fleet.version import VERSION

PROJECT = "fleet"
CLI_APP = "fleet-cli"
SERVICES = ("operator", "callout", "nats")
"""The order of their end: the operator first, because it needs the others."""
_IDENTITY = ("zitadel", "postgres")
_HTTPS = 443
_TO_BE_MADE = "(made by the install)"

Progress = Callable[[str], None]


class RegisteredProject(msgspec.Struct, frozen=True):
    """The project at the identity provider, where it is there already with its role and the CLI's application."""

    project_id: str
    cli_client_id: str


class FleetServerScore(msgspec.Struct, frozen=True):
    """A fleet server. `issuer` is the identity provider's URL, `issuer_ca` the PEM that signed it, if not a public one.

    `admin` makes the project there, unless it is registered already. With `bundled_identity` the place runs the
    provider as well, as that issuer; `admin` is None until somebody has logged in there for the first time.
    Interpreting it twice changes nothing; after a crash it goes on where it stopped.
    """

    issuer: str
    admin: AdminAuth | RegisteredProject | None
    issuer_ca: str = ""
    namespace: str = DEFAULT_NAMESPACE
    bundled_identity: bool = False
    upgrade: UpgradeRules = UpgradeRules()
    web_client_id: str = ""

    def interpret(self, place: ServerPlace, *, tell: Tell, progress: Progress) -> list[Applied]:
        """Install; returns what was touched, and whether it changed.

        Raises:
            FleetError: any of its kinds; nothing that was done needs to be undone before the next attempt.
        """
        endpoints = place.endpoints(self.namespace)
        web = bool(endpoints.operator_web)
        if isinstance(place, PreviewsChanges):
            progress("looking at what is there")
            self.preview(place)  # so that what would be refused is, before anything is changed
        done: list[Applied] = []
        if self.bundled_identity:
            progress("identity provider: Postgres, Zitadel")
            done += place.apply(server_objects(self.namespace, web=web))
            done += place.run(self._identity(place.secrets, endpoints))
        progress("identity provider: project, role and the CLI's application")
        settings = self._settings(tell, place.secrets)
        progress("Kubernetes: namespace, definitions, accounts")
        done += place.apply(server_objects(self.namespace, web=web))
        plan = plan_of(Install(settings, place.remembered), place.secrets, endpoints)
        progress("services: NATS, callout, operator")
        done += place.run(plan.services)
        if not web:  # an earlier install may have had the page
            done += [change for change in place.delete(web_rbac(self.namespace)[::-1]) if change.changed]
        return done + place.apply(plan.published)

    def preview(self, place: PreviewsChanges) -> list[Preview]:
        """What `interpret` would do to the place; nothing is changed there, and the identity provider is not asked.

        Raises:
            FleetError: the install would be refused.
        """
        endpoints = place.endpoints(self.namespace)
        install = Install(self._known_settings(place), place.remembered)
        plan = plan_of(install, DraftSecretStore(place.secrets), endpoints)
        identity = self._identity(DraftSecretStore(place.secrets), endpoints)
        return place.preview([*plan.objects, *plan.published], [*identity, *plan.services])

    def _identity(self, store: SecretStore, endpoints: Endpoints) -> Sequence[Service]:
        if not self.bundled_identity:
            return ()
        return provider_services(self.issuer, store, endpoints)

    def _settings(self, tell: Tell, store: SecretStore) -> ServerSettings:
        project = self.admin if isinstance(self.admin, RegisteredProject) else self._register(tell, store)
        return self._with(project.project_id, project.cli_client_id)

    def _register(self, tell: Tell, store: SecretStore) -> RegisteredProject:
        if not isinstance(self.admin, AdminAuth):
            raise NotPermitted(
                f"Zitadel runs as {self.issuer}, and nobody has given us a token for it yet",
                next_step=f"log in there as {ADMIN}, with the password that `kubectl get secret fleet-secrets "
                f"-n {self.namespace} -o jsonpath={{.data.{ADMIN_PASSWORD}}} | base64 -d` shows; make a machine user "
                "with the role Org Owner and a personal access token, then repeat with --admin-token-file",
            )
        ca = Authority.of(store).bundle + self.issuer_ca if self.bundled_identity else self.issuer_ca
        token = self.admin.access_token(self.issuer, ca, tell)
        with Zitadel(self.issuer, ca, token.text) as zitadel:
            project = zitadel.ensure_project(PROJECT)
            zitadel.ensure_role(project, DEVICE_ROLE, "Device")
            zitadel.ensure_role(project, VIEWER_ROLE, "Looks at the web page")
            return RegisteredProject(project, zitadel.ensure_cli_app(project, CLI_APP))

    def _known_settings(self, place: PreviewsChanges) -> ServerSettings:
        """As far as an earlier install has recorded them."""
        found = place.find("ConfigMap", SERVER_CONFIG_MAP, self.namespace)
        project = client = _TO_BE_MADE
        if found is not None:
            with contextlib.suppress(InvalidInput):  # the install writes anew what somebody has broken
                info = server_info(found)
                if info.issuer == self.issuer:
                    project, client = info.project_id, info.cli_client_id
        return self._with(project, client)

    def _with(self, project_id: str, cli_client_id: str) -> ServerSettings:
        return ServerSettings(
            self.namespace,
            self.issuer,
            self.issuer_ca,
            project_id,
            cli_client_id,
            VERSION,
            self.upgrade,
            self.web_client_id,
            self.bundled_identity,
        )


def provider_services(issuer: str, store: SecretStore, endpoints: Endpoints) -> tuple[Service, Service]:
    """A bundled identity provider as the issuer, with the present secrets; missing ones are made.

    Raises:
        InvalidInput: this place brings none.
    """
    if endpoints.identity is None:
        raise InvalidInput("this place brings no identity provider", next_step="leave out --bundled-identity")
    address = urlsplit(issuer)
    return identity_services(Endpoint(str(address.hostname), address.port or _HTTPS), store, endpoints.identity)


def plan_of(install: Install, store: SecretStore, endpoints: Endpoints) -> ServerPlan:
    """The plan of an install with the present secrets; missing ones are made."""
    ages = _provider_ages(install.settings, store, endpoints)
    return server_plan(install.settings, secrets_of(store, endpoints), endpoints, install.place, ages)


def _provider_ages(settings: ServerSettings, store: SecretStore, endpoints: Endpoints) -> list[SecretAge]:
    if not settings.bundled_identity:
        return []
    end = provider_end(provider_services(settings.issuer, store, endpoints))
    ending = {PROVIDER_KEY: int(end.timestamp())}
    return [SecretAge(name, made_at(store, name), ending.get(name, 0)) for name in PROVIDER_SECRETS]


def provider_end(services: Sequence[Service]) -> datetime:
    """When the first certificate of a bundled identity provider ends."""
    return min(ends(service.files["tls.crt"]) for service in services)


def secrets_of(store: SecretStore, endpoints: Endpoints) -> ServerSecrets:
    """The secrets of a server with these addresses; missing ones are made."""
    hosts = sorted({endpoints.nats.host, endpoints.nats_public.host, "localhost"})
    return server_secrets(store, hosts, [peer.host for peer in endpoints.nats_peers], endpoints.web_hosts)


def uninstall(place: ServerPlace, namespace: str, *, delete_data: bool, delete_definitions: bool) -> list[Applied]:
    """Remove what an install made; a repeat goes on where it broke off. The namespace stays.

    Args:
        place: Where it was installed.
        namespace: And in which namespace.
        delete_data: Also the secrets, and what NATS keeps. It is the operator that cleans up after devices, so callers
            delete those first.
        delete_definitions: Also the definitions, and with them every server's devices in the whole cluster.
    """
    log_reader = {"kind": "Secret", "metadata": {"name": LOG_READER_SECRET, "namespace": namespace}}
    config_map = {"kind": "ConfigMap", "metadata": {"name": SERVER_CONFIG_MAP, "namespace": namespace}}
    done = place.stop((*SERVICES, *_IDENTITY), delete_data=delete_data)
    kept = {"Namespace"} if delete_definitions else {"Namespace", "CustomResourceDefinition"}
    objects = [item for item in reversed(server_objects(namespace, web=True)) if item["kind"] not in kept]
    done += place.delete(objects)
    if delete_data:
        place.secrets.clear()
    # Last, as it came last: while it is there, the command can be repeated.
    return done + place.delete([log_reader, config_map])
