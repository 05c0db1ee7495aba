"""The device's sealing key at work: what is sealed for it is opened by a process of its own (`fleet.agent.unseal`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fleet.agent.child import call
from fleet.agent.desired_state import Deployment, DesiredState
from fleet.agent.problems import Problem, Waits
from fleet.agent.unseal import Answer, Ask, Opened
from fleet.contract.errors import FleetError
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.contract.pod import Member, SentPod
from fleet.contract.sealed import Contents, RegistryLogin, Sealed
from fleet.contract.wire import Container, Reason
from fleet.contract.workload import Container2
from fleet.process.failures import in_words

_MODULE = "fleet.agent.unseal"
_WITHIN = 60.0
"""Seconds for the process, on a small board that is busy."""


class Unopened(FleetError):  # noqa: N818 - reads as what it is
    """What is sealed could not be opened, or there is no key to open it with."""


class Sealing:
    """Opens what is sealed for one device."""

    def __init__(self, path: Path, device: str) -> None:
        """Read nothing yet; the key at `path` is made when it is first needed."""
        self._ask = Ask(str(path), str(device))  # a `DeviceId` is no text to msgspec
        self._one = asyncio.Lock()

    async def key(self) -> str:
        """The public half of the device's key.

        Raises:
            Unopened: there is none, and none can be made.
        """
        return (await self._answer({}, contents=False)).key

    async def filled(self, deployment: str, workload: Container, sealed: Sealed | None) -> Container:
        """A workload with the values of its environment variables in their places; a secret.

        Raises:
            Unopened: they do not open.
        """
        if not workload.secret_env:
            return workload
        env = (await self.contents(deployment, member_name(workload), sealed)).env
        if missing := sorted(workload.secret_env.keys() - env.keys()):
            raise _unopened(f"what is sealed for {deployment} has no {', '.join(missing)}")
        return msgspec.structs.replace(workload, env={**workload.env, **env}, secret_env={})

    async def login(self, deployment: str, workload: Container, sealed: Sealed | None) -> RegistryLogin | None:
        """How to log in at the registry of a workload's image; None for an image that everybody may fetch.

        Raises:
            Unopened: the login does not open.
        """
        if not workload.image_pull_secret:
            return None
        return (await self.contents(deployment, member_name(workload), sealed)).login

    async def contents(self, deployment: str, member: str, sealed: Sealed | None) -> Contents:
        """What is sealed for a container, by its name in its pod; a secret.

        Raises:
            Unopened: it does not open.
        """
        if sealed is None:
            raise _unopened(f"nothing is sealed for {deployment}, which takes secrets")
        opened = (await self._answer({deployment: sealed}, contents=True)).opened[deployment]
        if opened.contents is None:
            raise _unopened(opened.problem)
        return opened.contents.containers.get(member, Contents()) if member else opened.contents

    async def noted(self, desired_state: DesiredState, known: DesiredState) -> DesiredState:
        """The desired deployments, each with the digest of its secrets; secrets of `known` ones are not opened again.

        What does not open becomes a problem beside the workload that is known, so that it goes on.
        """
        opened = await self.opened(self.unopened(desired_state, known))
        return {name: noted(desired, opened.get(name), known.get(name)) for name, desired in desired_state.items()}

    def unopened(self, desired_state: DesiredState, known: DesiredState) -> dict[str, Sealed]:
        """What is to be opened of the desired deployments: the secrets of `known` ones were."""
        return {
            name: desired.sealed
            for name, desired in desired_state.items()
            if desired.sealed is not None and not desired.problem and not _is_same(desired, known.get(name))
        }

    async def opened(self, sealed: Mapping[str, Sealed]) -> Mapping[str, Opened]:
        """The digests of secrets, or why they do not open, by deployment."""
        if not sealed:
            return {}
        try:
            return (await self._answer(sealed, contents=False)).opened
        except Unopened as error:
            return dict.fromkeys(sealed, Opened(problem=error.what))

    async def _answer(self, sealed: Mapping[str, Sealed], *, contents: bool) -> Answer:
        ask = msgspec.structs.replace(self._ask, sealed=dict(sealed), contents=contents)
        async with self._one:  # a device has little memory
            try:
                _, data = await call(_MODULE, stdin=msgspec.json.encode(ask), within=_WITHIN)
                answer = msgspec.json.decode(data, type=Answer)
            except TimeoutError:
                raise _unopened("the process that opens secrets did not end in time") from None
            except (*NOT_JSON, OSError) as error:
                why = in_words(error) if isinstance(error, OSError) else validation_words(error)
                raise _unopened(f"the process that opens secrets failed: {why}") from None
        if answer.problem:
            raise _unopened(answer.problem)
        return answer


def member_name(workload: Container) -> str:
    """A container's name in its pod; empty for one that stands alone."""
    return workload.name if isinstance(workload, Member) else ""


def _unopened(why: str) -> Unopened:
    return Unopened(why, next_step="see the agent's log on the device")


def _is_same(desired: Deployment, known: Deployment | None) -> bool:
    return known is not None and known.sealed is not None and known.sealed == desired.sealed


def waiting(desired: Deployment, known: Deployment | None) -> Deployment:
    """A deployment whose secrets are not opened yet: what is known of it goes on."""
    before = known or Deployment(0)
    problem = before.problem if before.generation == desired.generation else None
    if problem is None or problem.reason is not Reason.SECRETS_NOT_OPENED:
        problem = Waits(Reason.SECRETS_NOT_OPENED, "its secrets are being opened")
    return msgspec.structs.replace(desired, workload=before.workload, problem=problem, sealed=before.sealed)


def noted(desired: Deployment, opened: Opened | None, known: Deployment | None) -> Deployment:
    """A deployment with the digest of its secrets, which were opened now or are those of the known one."""
    if opened is not None and opened.problem:
        problem = Problem(Reason.SECRETS_NOT_OPENED, opened.problem)
        before = known or Deployment(0)
        return msgspec.structs.replace(desired, workload=before.workload, problem=problem, sealed=before.sealed)
    if desired.sealed is None or desired.problem:
        return desired
    was = known.workload if known else None
    match desired.workload:
        case Container2():
            digest = opened.digest if opened else was.secrets_digest if isinstance(was, Container2) else ""
            noted = msgspec.structs.replace(desired.workload, secrets_digest=digest)
        case SentPod():
            digests = opened.digests if opened else was.secrets_digests if isinstance(was, SentPod) else {}
            noted = msgspec.structs.replace(desired.workload, secrets_digests=digests)
        case _:
            return desired
    return msgspec.structs.replace(desired, workload=noted)
