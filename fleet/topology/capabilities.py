"""What a place can do, as small protocols: a Score asks for what it needs; pyright refuses a place without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from fleet.secrets.store import SecretStore
from fleet.topology.place_options import PlaceOptions

Json = dict[str, Any]


class Endpoint(msgspec.Struct, frozen=True):
    """A host name or address, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class IdentityEndpoints(msgspec.Struct, frozen=True):
    """Where the parts of a bundled identity provider find each other."""

    zitadel: Endpoint
    postgres: Endpoint


class Endpoints(msgspec.Struct, frozen=True):
    """Where the parts of a server listen on a place, and where they find each other.

    `nats_public` is what devices connect to; `nats` what the server's own parts do. `operator_kubeconfig` is the file
    by which the operator reaches the API server with its own ServiceAccount; empty in a pod, which has one mounted.
    `nats_tls_first` says that what leads from `nats_public` to NATS must see TLS before anything else.
    `nats_log_file` is where NATS logs to, where nobody keeps its standard error short. `identity` is None on a place
    that brings no identity provider. `nats_peers` is where the replicas of NATS find each other, one for each; empty
    where there is only one. `operator_web` is 0 where there is to be no web page, and `web_url` empty where it
    is reached by port-forward.
    """

    listen_host: str
    nats: Endpoint
    nats_public: Endpoint
    nats_monitor: int
    callout_health: int
    operator_health: int
    operator_kubeconfig: str = ""
    nats_tls_first: bool = False
    nats_log_file: str = ""
    nats_peers: tuple[Endpoint, ...] = ()
    callout_replicas: int = 1
    identity: IdentityEndpoints | None = None
    operator_web: int = 0
    web_url: str = ""

    @property
    def web_hosts(self) -> tuple[str, ...]:
        """The names by which browsers reach the web page; none where there is none."""
        if not self.operator_web:
            return ()
        own = urlsplit(self.web_url).hostname
        return tuple(dict.fromkeys(("localhost", "127.0.0.1", *((own,) if own else ()))))


class Service(msgspec.Struct, frozen=True):
    """A part that runs for ever.

    `args` and the contents of `files` may hold `{files}` and `{data}`, for the folders in which the place puts the
    files (readable by the part only) and keeps what must survive a restart; `args` of a part with replicas also
    `{instance}`, a name that differs from one to the next. `ready` is a path that answers 200 over plain HTTP on
    `health_port` once the part does its work, `alive` one that does so unless only a restart can help. `account` is the
    ServiceAccount that the part acts as in Kubernetes; empty when it has no business there.

    `health_inside` says that it answers so on 127.0.0.1 alone; its image then holds wget, by which it is asked.

    Where `ready` and `alive` are empty, a part that accepts a connection is both; `health_tls` asks over TLS. `env` may
    hold what `args` may. `scratch` are folders that it writes to and may lose. `public` is where it is reached from
    outside; `clients` are the services that may connect to a part that is for them only.
    """

    name: str
    program: str
    args: tuple[str, ...]
    files: dict[str, bytes]
    ports: dict[str, int]
    health_port: int
    ready: str
    replicas: int = 1
    alive: str = "/healthz"
    account: str = ""
    health_tls: bool = False
    health_inside: bool = False
    env: dict[str, str] = {}
    scratch: tuple[str, ...] = ()
    public: Endpoint | None = None
    clients: tuple[str, ...] = ()

    @property
    def keeps_data(self) -> bool:
        """Whether it has anything that must survive a restart."""
        return any(
            b"{data}" in text for text in (*map(str.encode, (*self.args, *self.env.values())), *self.files.values())
        )


class Applied(msgspec.Struct, frozen=True):
    """What applying one object or service did."""

    name: str
    changed: bool


class ServiceStatus(msgspec.Struct, frozen=True):
    """How a service stands; `why` says what is missing while it is not ready."""

    name: str
    ready: bool
    why: str = ""


class Preview(msgspec.Struct, frozen=True):
    """What an install would do to one object; `fields` says in words what differs in one that would be changed."""

    name: str
    action: Literal["create", "change", "remove", "keep"]
    fields: tuple[str, ...] = ()


class PlaceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which place is asked for: a namespace, how long it may take to be ready (seconds), and who hears of the wait.

    `remembered` stands for the options of an earlier request: what `RemembersOptions.remembered` was then.
    """

    namespace: str
    timeout: float
    progress: Callable[[str], None]
    options: PlaceOptions = PlaceOptions()
    remembered: str = ""


class RemembersOptions(Protocol):
    """A place that can be made again, by a command that is not told its options."""

    @property
    def remembered(self) -> str:
        """The options, resolved, in words of the place's own; no secrets."""
        ...


class HoldsSecrets(Protocol):
    """A place that keeps generated secrets."""

    @property
    def secrets(self) -> SecretStore:
        """The store."""
        ...


class AppliesObjects(Protocol):
    """A place with a Kubernetes API server."""

    def apply(self, objects: Sequence[Json]) -> list[Applied]:
        """Make the objects so, in order; an equal object stays untouched."""
        ...

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """One object, or None."""
        ...

    def delete(self, objects: Sequence[Json]) -> list[Applied]:
        """Remove the objects, in order, and wait until they are gone; a missing one is fine."""
        ...


class RunsServices(Protocol):
    """A place that keeps services running."""

    def endpoints(self, namespace: str) -> Endpoints:
        """Where the parts will listen: the same answer at every install."""
        ...

    def run(self, services: Sequence[Service]) -> list[Applied]:
        """Run the services, and return once all are ready; one that is equal stays untouched."""
        ...

    def renew(self, services: Sequence[Service]) -> list[Applied]:
        """Give running services other files, however they were installed, and return once all are ready with these."""
        ...

    def services(self) -> list[ServiceStatus]:
        """Those that were told to run."""
        ...

    def stop(self, names: Sequence[str], *, delete_data: bool) -> list[Applied]:
        """End services and, when told so, what they kept."""
        ...


class RunsCommands(Protocol):
    """A host: a device, this machine or one over SSH."""

    def execute(self, argv: Sequence[str]) -> str:
        """Run a command to its end and return its output."""
        ...

    def read(self, path: str) -> bytes | None:
        """A file's content, or None when there is none."""
        ...

    def put(self, path: str, content: bytes, mode: int) -> Applied:
        """Write a file atomically; an equal one with the same mode stays untouched."""
        ...


@runtime_checkable
class PreviewsChanges(HoldsSecrets, RemembersOptions, Protocol):
    """A place that can tell what an install would do."""

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """As `AppliesObjects.find`."""
        ...

    def endpoints(self, namespace: str) -> Endpoints:
        """As `RunsServices.endpoints`."""
        ...

    def preview(self, objects: Sequence[Json], services: Sequence[Service]) -> list[Preview]:
        """What applying the objects and running the services would do; what would be refused raises, as then."""
        ...


@runtime_checkable
class ChecksRights(Protocol):
    """A place on which an admin may lack rights."""

    def require_rights_to_renew(self, more: Sequence[Service] = ()) -> None:
        """See that we may write secrets, and what parts have of them; `more` are services beside our own three.

        Raises:
            NotPermitted: names every right that is missing.
        """
        ...


@runtime_checkable
class ComparesFiles(Protocol):
    """A place that can tell which services were started with other files."""

    def outdated(self, services: Sequence[Service]) -> frozenset[str]:
        """The names of those that do not run, or were told to run with other files than these."""
        ...


@runtime_checkable
class RunsTimers(Protocol):
    """A place that can run a command of ours from time to time."""

    def timer(self, services: Sequence[Service], published: Sequence[Json], schedule: str) -> tuple[Json, ...]:
        """The objects of one that renews what is due of a server with these services; nothing is applied.

        Raises:
            NotPermitted: it could not reach the server's secrets.
        """
        ...


class ServerPlace(HoldsSecrets, RemembersOptions, AppliesObjects, RunsServices, Protocol):
    """All that a fleet server needs of a place."""
