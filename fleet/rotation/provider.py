"""The parts of a bundled identity provider in a rotation.

Neither Zitadel nor Postgres tells which secrets it uses. The topology tells which files each was given, and whether it
is ready. The store tells which secrets these files must be made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fleet.install.authority import AUTHORITY_KEY
from fleet.install.identity import PROVIDER_KEY, PROVIDER_SECRETS
from fleet.install.server import provider_services
from fleet.rotation.look import Standing
from fleet.secrets.draft import DraftSecretStore
from fleet.topology.capabilities import ComparesFiles

if TYPE_CHECKING:
    from fleet.install.plan import ServerSettings
    from fleet.secrets.store import SecretStore
    from fleet.topology.capabilities import Endpoints, ServerPlace, Service

_TOUCHED = frozenset({AUTHORITY_KEY, *PROVIDER_SECRETS})


class Provider:
    """What a server's place runs beside the server itself, where its install said so."""

    def __init__(self, settings: ServerSettings, place: ServerPlace, endpoints: Endpoints) -> None:
        self._settings = settings
        self._place = place
        self._endpoints = endpoints

    def standing(self) -> Mapping[str, Standing]:
        """How each part stands, by its name; nothing is changed."""
        services = self.services(DraftSecretStore(self._place.secrets))
        if not services:
            return {}
        outdated = self._outdated(services)
        unready = {one.name for one in self._place.services() if not one.ready}

        def stands(name: str) -> Standing:
            if name in outdated:
                return Standing.OUTDATED
            return Standing.STARTING if name in unready else Standing.CURRENT

        return {service.name: stands(service.name) for service in services}

    def apply(self) -> None:
        """Bring the parts to what the store has: Postgres first, for Zitadel logs in there by what it was given.

        A part that has the files of the store is left alone, so that one that fails holds up no rotation but its own.
        """
        services = self.services(self._place.secrets)
        outdated = self._outdated(services) if services else frozenset[str]()
        for service in services:
            if service.name in outdated:
                self._place.renew([service])

    def services(self, store: SecretStore) -> tuple[Service, ...]:
        """Its services with the secrets of `store`; none where the install did not bring it."""
        if not self._settings.bundled_identity:
            return ()
        return provider_services(self._settings.issuer, store, self._endpoints)

    def why_not(self, name: str) -> str:
        """Why a secret that it has cannot be rotated on this server; empty where it can."""
        if self._settings.bundled_identity or name not in _TOUCHED or self._place.secrets.get(PROVIDER_KEY) is None:
            return ""
        return (
            "it cannot be rotated: an earlier install has brought an identity provider, and the last one did not name "
            "it; repeat `fleet server install` with --bundled-identity"
        )

    def _outdated(self, services: tuple[Service, ...]) -> frozenset[str]:
        assert isinstance(self._place, ComparesFiles)
        return self._place.outdated(services)
