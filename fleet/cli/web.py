"""`fleet web`: opens the web page, by port-forward where it has no address of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
import webbrowser
from functools import partial
from typing import Annotated

import typer

from fleet.cli.context import NamespaceOption, cluster, installed
from fleet.cli.output import Output, OutputOption, answer, progress
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import FleetError, InvalidInput, NotFound, NotInstalled
from fleet.process.retry import retrying

_LOCAL = "localhost"
_DEPLOYMENT, _PORT = "deployment/fleet-operator", "web"
_FORWARDED = "Forwarding from 127.0.0.1:"
"""What kubectl prints once it listens."""
_PAUSE = 1.0
"""Seconds between the end of a kubectl and the next one, which finds the pod that took the place of the one before."""
_OUTAGE = 60.0
"""Seconds for which the API server or the page may be away before we give up."""


def web(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="on this machine, to forward from; 0 takes a free one")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="open a browser too")] = True,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Open the read-only web page of the server, and forward a port to it until Ctrl-C where that is needed.

    \b
    Examples:
      fleet web
      fleet web --no-browser --port 8443
    """  # noqa: D301 - \b is click's mark
    kube = cluster()
    server = installed(kube, namespace)
    if not server.web:
        raise NotInstalled(
            f"the server in {namespace} serves no web page",
            next_step="install it again with --web, and with the other options that it was installed with",
        )
    if server.web_url:
        if port:
            raise InvalidInput(
                f"the page has an address of its own, {server.web_url}: no port of this machine is forwarded",
                next_step="leave --port out",
            )
        _show(server.web_url, output, browser=browser)
        progress("the page has an address of its own: nothing is forwarded, and this command ends")
        return
    chosen = port or _free_port()
    forward = partial(_forward, namespace, chosen)
    process = forward()
    try:
        _show(f"https://{_LOCAL}:{chosen}", output, browser=browser)
        progress("forwarding until Ctrl-C")
        while True:
            process.wait()
            _end(process)
            progress("kubectl lost the connection to the page: it is forwarded again")
            time.sleep(_PAUSE)
            process = retrying(timeout=_OUTAGE, longest_pause=2)(FleetError, forward)
    finally:
        _end(process)


def _show(url: str, output: Output, *, browser: bool) -> None:
    lines = [
        url,
        "its certificate is signed by the server's own authority: a browser asks once whether to trust it",
        "sign in there; the role fleet-viewer is needed",
    ]
    answer(output, {"url": url}, lines)
    if browser and not webbrowser.open(url):
        progress("no browser could be opened: open the address by hand")


def _forward(namespace: str, port: int) -> subprocess.Popen[str]:
    """Have kubectl forward a port of this machine to the page; it does when this returns.

    Raises:
        FleetError: it does not.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise NotFound(
            "kubectl, which forwards the page's port, is not on the PATH",
            next_step="install kubectl, or give the page an address of its own",
        )
    argv = [kubectl, "port-forward", "--namespace", namespace, _DEPLOYMENT, f"{port}:{_PORT}", "--address", "127.0.0.1"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
    except BaseException:  # Ctrl-C too: kubectl must not outlive the command
        _end(process)
        _read_away(process)
        raise
    if line.startswith(_FORWARDED):
        # It writes a line for each connection. In a full pipe it would wait, and forward nothing more.
        threading.Thread(target=_read_away, args=(process,), name="kubectl's lines", daemon=True).start()
        return process
    _end(process)
    _read_away(process)
    raise FleetError(
        f"kubectl cannot forward the page's port: {line.strip() or 'it said nothing'}",
        next_step="see `fleet server status`; with --port, is that port free?",
    )


def _read_away(process: subprocess.Popen[str]) -> None:
    """Read what kubectl writes until it has ended."""
    if process.stdout is not None:
        with process.stdout:
            for _ in process.stdout:
                pass


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
