"""The desired state of an install: a fleet server in a namespace, trusting one identity provider."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fleet.contract.config import DEVICE_ROLE
from fleet.contract.objects import SERVER_CONFIG_MAP
from fleet.scores.plan import ServerPlan, ServerSettings, server_objects, server_plan
from fleet.scores.secrets import server_secrets
from fleet.topology.admin import AdminAuth, Tell
from fleet.topology.capabilities import Applied, Endpoints, ServerPlace
from fleet.topology.zitadel import Zitadel
from fleet.version import VERSION

PROJECT = "fleet"
CLI_APP = "fleet-cli"
_SERVICES = ("operator", "callout", "nats")
"""In the order in which they end: the operator first, for it needs the others."""

Progress = Callable[[str], None]


class FleetServerScore(msgspec.Struct, frozen=True):
    """A fleet server. `issuer` is the identity provider's URL, `issuer_ca` the PEM that signed it, if not a public one.

    Interpreting it twice changes nothing; after a crash it goes on where it stopped.
    """

    issuer: str
    admin: AdminAuth
    issuer_ca: str = ""
    namespace: str = "fleet-system"

    def interpret(self, place: ServerPlace, *, tell: Tell, progress: Progress) -> list[Applied]:
        """Install; returns what was touched, and whether it changed.

        Raises:
            FleetError: any of its kinds; nothing that was done needs to be undone before the next attempt.
        """
        progress("identity provider: project, role and the CLI's application")
        settings = self._settings(tell)
        endpoints = place.endpoints(self.namespace)
        plan = self._plan(settings, place, endpoints)
        progress("Kubernetes: namespace, definitions, accounts")
        done = place.apply(plan.objects)
        progress("services: NATS, callout, operator")
        done += place.run(plan.services)
        return done + place.apply([plan.announcement])

    def _settings(self, tell: Tell) -> ServerSettings:
        token = self.admin.access_token(self.issuer, self.issuer_ca, tell)
        with Zitadel(self.issuer, self.issuer_ca, token.text) as zitadel:
            project = zitadel.ensure_project(PROJECT)
            zitadel.ensure_role(project, DEVICE_ROLE, "Device")
            client = zitadel.ensure_cli_app(project, CLI_APP)
        return ServerSettings(self.namespace, self.issuer, self.issuer_ca, project, client, VERSION)

    def _plan(self, settings: ServerSettings, place: ServerPlace, endpoints: Endpoints) -> ServerPlan:
        hosts = sorted({endpoints.nats.host, endpoints.nats_public.host, "localhost"})
        return server_plan(settings, server_secrets(place.secrets, hosts), endpoints)


def uninstall(place: ServerPlace, namespace: str, *, delete_data: bool, delete_definitions: bool) -> list[Applied]:
    """Remove what an install made; a repeat goes on where it broke off. The namespace stays.

    Args:
        place: Where it was installed.
        namespace: And in which namespace.
        delete_data: Also the secrets, and what NATS keeps. It is the operator that cleans up after devices, so callers
            delete those first.
        delete_definitions: Also the definitions, and with them every server's devices in the whole cluster.
    """
    config_map = {"kind": "ConfigMap", "metadata": {"name": SERVER_CONFIG_MAP, "namespace": namespace}}
    done = place.stop(_SERVICES, delete_data=delete_data)
    kept = {"Namespace"} if delete_definitions else {"Namespace", "CustomResourceDefinition"}
    objects = [item for item in reversed(server_objects(namespace)) if item["kind"] not in kept]
    done += place.delete(objects)
    if delete_data:
        place.secrets.clear()
    # Last, as it came last: while it is there, the command can be repeated.
    return done + place.delete([config_map])
