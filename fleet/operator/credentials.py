"""How the operator reaches the API server: its pod's ServiceAccount, or a kubeconfig with a token."""

from __future__ import annotations

from pathlib import Path

from fleet.contract.errors import InvalidInput, NotFound
from fleet.kube.kubeconfig import Access, mounted_account, read_files


def read_credentials(kubeconfig: str) -> Access:
    """The credentials as they stand now: a pod's token is renewed in place, so read them again when they are refused.

    Args:
        kubeconfig: Path of a kubeconfig whose user has a token; empty for the pod's own ServiceAccount.

    Raises:
        NotFound: a file is not there.
        InvalidInput: the kubeconfig is of a form that is not understood.
    """
    if not kubeconfig:
        return mounted_account()
    if not Path(kubeconfig).is_file():
        raise NotFound(f"cannot read {kubeconfig}: there is no such file", next_step="is the operator installed?")
    config = read_files([Path(kubeconfig)])
    if not config.bearer():
        raise InvalidInput(f"{kubeconfig}: its user has no token", next_step="use a kubeconfig of a ServiceAccount")
    return config
