"""How an engine says no: an HTTP status and a sentence, in docker's words and in podman's (4.3)."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an answer, as the API gives it
    """Docker's status and words; `podman` holds podman's where they differ."""

    def __init__(self, status: int, message: str, podman: tuple[int, str] | None = None) -> None:
        """Keep both."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.podman = podman or (status, message)


def no_such_container(name: str) -> Refused:
    """A container that is not there."""
    words = f'no container with name or ID "{name}" found: no such container'
    return Refused(404, f"No such container: {name}", (404, words))


def went_meanwhile(container: str) -> Refused:
    """A container that is removed while it is looked at."""
    words = f"container {container} does not exist in database: no such container"
    return Refused(404, f"No such container: {container}", (500, words))


def no_such_image(name: str) -> Refused:
    """An image that is not there."""
    return Refused(404, f"No such image: {name}", (404, f"no such image: {name}: image not known"))


def no_reference() -> Refused:
    """A name that no image can have."""
    words = "normalizing image: normalizing name for compat API: invalid reference format"
    return Refused(400, "invalid reference format", (500, words))


def image_in_use(image: str, container: str) -> Refused:
    """An image that a container was made from."""
    words = f"image {image} is in use: image used by {container}: image is in use by a container"
    return Refused(409, f"conflict: unable to remove {image}: a container is using it", (409, words))


def no_such_volume(name: str) -> Refused:
    """A volume that is not there."""
    return Refused(404, f"get {name}: no such volume", (404, f"no volume with name {name} found: no such volume"))


def volume_in_use(name: str, containers: list[str]) -> Refused:
    """A removal of a volume that containers were made with."""
    users = ", ".join(containers)
    words = f"volume {name} is being used by the following container(s): {users}: volume is being used"
    return Refused(409, f"remove {name}: volume is in use - [{users}]", (409, words))


def name_taken(name: str, container: str) -> Refused:
    """A name that another container has."""
    return Refused(
        409,
        f'Conflict. The container name "/{name}" is already in use by container "{container}". '
        "You have to remove (or rename) that container to be able to reuse that name.",
        (
            500,
            f'container create: creating container storage: the container name "{name}" is already in use by '
            f"{container}. You have to remove that container to be able to reuse that name: "
            "that name is already in use",
        ),
    )


def not_running(container: str) -> Refused:
    """A signal for a container that does not run."""
    words = f"can only kill running containers. {container} is in state exited: container state improper"
    return Refused(409, f"Cannot kill container: {container}: Container {container} is not running", (500, words))


def still_running(container: str) -> Refused:
    """A removal without force of a container that runs."""
    return Refused(
        409,
        f"You cannot remove a running container {container}. "
        "Stop the container before attempting removal or force remove",
        (
            500,
            f"cannot remove container {container} as it is running - running or paused containers cannot be removed "
            "without force: container state improper",
        ),
    )


def port_taken(port: object, name: str) -> Refused:
    """A start on a port of the host that is in use."""
    return Refused(
        500,
        f"driver failed programming external connectivity on endpoint {name}: "
        f"Error starting userland proxy: listen tcp4 0.0.0.0:{port}: bind: address already in use",
        (500, f"cannot listen on the TCP port: listen tcp4 :{port}: bind: address already in use"),
    )


def address_taken(address: str) -> Refused:
    """A start with an address of a network that another container runs with."""
    words = f"failed to allocate for range 0: requested IP address {address} is not available in range set"
    return Refused(403, "Address already in use", (500, f'plugin type="bridge" failed (add): {words}'))


def no_program(program: str) -> Refused:
    """A start of a program that the image has not."""
    words = f'exec: "{program}": executable file not found in $PATH'
    return Refused(
        400,
        f"OCI runtime create failed: {words}: unknown",
        (
            500,
            f"runc: runc create failed: unable to start container process: {words}: "
            "OCI runtime attempted to invoke a command that was not found",
        ),
    )


def no_source(path: str) -> Refused:
    """A folder of the host that is not there."""
    words = f'invalid mount config for type "bind": bind source path does not exist: {path}'
    return Refused(400, words, (500, f"statfs {path}: no such file or directory"))


def too_many_cpus(most: int) -> Refused:
    """More processors than the host has."""
    return Refused(400, f"range of CPUs is from 0.01 to {most}.00, as there are only {most} CPUs available")
