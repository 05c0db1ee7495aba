"""Where `fleet deployment apply` takes a deployment from: a whole file, or options that change some fields. Pure."""

from __future__ import annotations

import copy
import shlex
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from fleet.cli.container_options import ContainerOptions, apply_changes, changes
from fleet.cli.context import as_json, pairs
from fleet.cli.texts import refuse_no_text
from fleet.contract.change import OURS
from fleet.contract.errors import InvalidInput
from fleet.contract.names import DeploymentName
from fleet.contract.objects import API_VERSION, DeploymentSpec, FleetDeployment, Metadata
from fleet.contract.selector import Labels
from fleet.contract.wire import Port, Restart, from_builtins
from fleet.contract.written import Written

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json

_KIND = FleetDeployment.__name__
_NO_HEALTH: Json = {"command": []}
_ANY: Json = {"spec": {"workload": {"type": "container", "image": "any", "health": {"command": ["true"]}}}}
"""A deployment that every option can change."""
_NO_SELECTOR = "give --selector KEY=VALUE, or --all for every device of the fleet"


class Options(msgspec.Struct, frozen=True):
    """What was typed of the deployment itself; None, or nothing, where an option was not given.

    An empty text takes away what the option names: `--command ''`, `--port ''`, `--health-command ''`.
    """

    name: str = ""
    image: str | None = None
    command: str | None = None
    selector: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    port: tuple[str, ...] = ()
    restart: Restart | None = None
    health_command: str | None = None
    health_interval: float | None = None
    rolling: int | None = None
    container: ContainerOptions = ContainerOptions()

    def given(self) -> list[str]:
        """The options that were typed."""
        return [
            f"--{field.replace('_', '-')}"
            for one, default in ((self, Options()), (self.container, ContainerOptions()))
            for field in one.__struct_fields__
            if field != "container" and getattr(one, field) != getattr(default, field)
        ]


class OptionSource:
    """A deployment from options: they make a new one, or change the fields that they name."""

    generation, uid = 0, ""
    """The generation and the uid of the object that it was made from: none."""

    def __init__(self, options: Options, *, every_device: bool) -> None:
        """Parse the options.

        Raises:
            InvalidInput: one makes no sense, alone or beside another.
        """
        if not options.name:
            raise InvalidInput("--name is missing", next_step="give --name and what to change, or --file")
        if every_device and options.selector:
            raise InvalidInput("--all and --selector contradict each other", next_step="give one of them")
        self.name = DeploymentName(options.name)
        self._options, self._every_device = options, every_device
        self._command, self._health = _words("--command", options.command), _health(options)
        self._env = _env(options.env)
        self._ports = [_port(text) for text in options.port if text]
        self._labels = pairs("--selector", options.selector)
        self._changes = changes(options.container)
        self.merged_with(_ANY)  # what can be judged alone is refused before a server is asked

    def merged_with(self, before: Json | None) -> Json:
        """The whole object, made from the present one.

        Raises:
            InvalidInput: there is none yet, and an option is missing that one needs; or a value is refused.
        """
        if before is None:
            self._check_new()
        spec: Json = copy.deepcopy(before["spec"]) if before else {"workload": {"type": "container"}}
        self._change_workload(spec["workload"])
        if self._labels or self._every_device:
            spec["selector"] = {"matchLabels": self._labels} if self._labels else {}
        if (rolling := self._options.rolling) is not None:
            spec["strategy"] = {"type": "Rolling", "maxUnavailable": rolling} if rolling else {"type": "AllAtOnce"}
        whole = {"apiVersion": API_VERSION, "kind": _KIND, "metadata": {"name": str(self.name)}, "spec": spec}
        try:
            from_builtins(whole, FleetDeployment)
        except InvalidInput as error:
            raise InvalidInput(error.what, next_step="correct the option, and type the command again") from error
        refuse_no_text(whole)
        return whole

    @property
    def _says_of_a_container(self) -> bool:
        return bool(set(self._options.given()) - {"--name", "--selector", "--rolling"})

    def _check_new(self) -> None:
        if not self._options.image:
            raise InvalidInput(
                f"--image is missing, and there is no deployment {self.name!r} to change",
                next_step="give --name and --image, or --file; see `fleet deployment list`",
            )
        if not self._labels and not self._every_device:
            raise InvalidInput("--selector is missing for a new deployment", next_step=_NO_SELECTOR)

    def _change_workload(self, workload: Json) -> None:
        options = self._options
        if workload.get("type") == "pod" and self._says_of_a_container:
            raise InvalidInput(
                f"{self.name} has several containers, and an option says nothing of which is meant",
                next_step="give all of it with --file or --compose; see `fleet deployment show NAME -o json`",
            )
        if options.image is not None:
            workload["image"] = options.image
        if self._command is not None:
            workload["command"] = self._command
        if options.restart is not None:
            workload["restart"] = options.restart.value
        if options.port:
            workload["ports"] = self._ports
        if self._env:
            env: Json = {**(workload.get("env") or {}), **self._env}
            workload["env"] = {name: value for name, value in env.items() if value is not None}
        apply_changes(workload, self._changes)
        if self._health == _NO_HEALTH:
            workload.pop("health", None)
        elif self._health:
            health: Json = {**(workload.get("health") or {}), **self._health}
            if "command" not in health:
                raise InvalidInput(
                    "--health-interval counts only with a health check, and there is none",
                    next_step="give --health-command too",
                )
            workload["health"] = health


class _Metadata(msgspec.Struct, rename="camel"):
    """Metadata of a file. What the server writes is passed over, so that what it shows can be applied."""

    name: str
    namespace: str = ""
    labels: Labels = {}
    annotations: dict[str, str] = {}
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Any = None
    deletion_timestamp: Any = None
    deletion_grace_period_seconds: Any = None
    finalizers: Any = None
    managed_fields: Any = None
    self_link: Any = None


class _File(msgspec.Struct, rename="camel"):
    """A FleetDeployment as a person writes it, or as the server shows it."""

    metadata: _Metadata
    spec: DeploymentSpec
    api_version: str = API_VERSION
    kind: str = _KIND
    status: Any = None


class FileSource:
    """A whole deployment from a file."""

    def __init__(self, data: bytes, file: str, *, namespace: str, every_device: bool) -> None:
        """Parse the file.

        Raises:
            InvalidInput: it is no FleetDeployment of this namespace, something in it would be ignored, or it selects
                every device and `every_device` does not say so.
        """
        written = Written(data, file, next_step="nothing was applied; see `fleet deployment show NAME -o json`")
        _check_kind(written.value, file)
        found = written.as_kind(_File)
        meta = found.metadata
        if meta.namespace not in {"", namespace}:
            raise InvalidInput(
                f"{file}: metadata.namespace is {meta.namespace!r}, and the server is meant that is in {namespace!r}",
                next_step=f"give --namespace {meta.namespace}, or take it out of the file",
            )
        if found.spec.selector.selects_all and not every_device:
            raise InvalidInput(
                f"{file}: its selector is empty, which selects every device of the fleet",
                next_step="give spec.selector.matchLabels or matchExpressions in the file, or --all with it",
            )
        if not found.spec.selector.selects_all and every_device:
            raise InvalidInput(
                f"--all and the selector of {file} contradict each other", next_step="take one of them away"
            )
        self.name = DeploymentName(meta.name)
        self.generation, self.uid = meta.generation, meta.uid
        # Who made the change before has not made this one.
        annotations = {key: text for key, text in meta.annotations.items() if key not in OURS}
        kept = Metadata(str(self.name), labels=meta.labels, annotations=annotations)
        self._whole = as_json(FleetDeployment(kept, found.spec))
        refuse_no_text(self._whole)

    def merged_with(self, before: Json | None) -> Json:
        """The whole object; the present one does not matter."""
        del before
        return copy.deepcopy(self._whole)


class DeploymentSource(Protocol):
    """A deployment as options, a file or a Compose file give it."""

    @property
    def name(self) -> DeploymentName:
        """The deployment's name."""
        ...

    @property
    def generation(self) -> int:
        """Of the object that it was written from; 0 for none."""
        ...

    @property
    def uid(self) -> str:
        """Of the object that it was written from; empty for none."""
        ...

    def merged_with(self, before: Json | None) -> Json:
        """The whole object, made from the present one."""
        ...


def _check_kind(value: object, file: str) -> None:
    """Check the kind before the fields, because the fields of another kind are no faults."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{file} holds no object", next_step="see `fleet deployment show NAME -o json`")
    found = cast("dict[str, object]", value)
    kind, version = found.get("kind", _KIND), found.get("apiVersion", API_VERSION)
    if (version, kind) != (API_VERSION, _KIND):
        raise InvalidInput(
            f"{file} holds a {kind!s:.80} of {version!s:.80}", next_step=f"give a {_KIND} of {API_VERSION}"
        )


def _words(option: str, text: str | None) -> list[str] | None:
    try:
        return None if text is None else shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"{option} {text!r}: {error}", next_step="quote it as for a shell") from error


def _health(options: Options) -> Json:
    """The changes of the health check; `_NO_HEALTH` to remove it."""
    words, interval = _words("--health-command", options.health_command), options.health_interval
    if words == [] and interval is not None:
        raise InvalidInput(
            "--health-interval counts only with a health check, and --health-command '' takes it away",
            next_step="leave one of them out",
        )
    if words == []:
        return _NO_HEALTH
    found: Json = {"command": words} if words else {}
    return found if interval is None else {**found, "interval": interval}


def _env(words: tuple[str, ...]) -> dict[str, str | None]:
    """Each variable's value, or None to remove it: `NAME-`."""
    gone = {word[:-1]: None for word in words if word.endswith("-") and "=" not in word and len(word) > 1}
    set_to = pairs("--env", [word for word in words if word[:-1] not in gone or "=" in word])
    if both := gone.keys() & set_to.keys():
        raise InvalidInput(f"--env sets {min(both)} and takes it away", next_step="leave one of them out")
    return {**gone, **set_to}


def _port(text: str) -> Json:
    numbers, _, protocol = text.partition("/")
    host, _, container = numbers.partition(":")
    try:
        port = {"host": int(host), "container": int(container), "protocol": protocol or "tcp"}
        from_builtins(port, Port)
    except ValueError as error:  # InvalidInput is one
        raise InvalidInput(
            f"--port {text!r} is not HOST:CONTAINER[/udp] with ports from 1 to 65535",
            next_step="for example --port 8080:80",
        ) from error
    return port
