"""The workloads of the runbook, as an operator writes them."""

from __future__ import annotations

from harness.scenario import Command

_WEB = "fleet deployment apply --name {deployment} --image {image} --command 'httpd -f -p 8080' --selector site={site}"
_JOB = "fleet deployment apply --name {deployment2} --image {image} --command 'sleep 1000000' --selector site={site}"


def web(release: int = 1) -> Command:
    """A release of a web server on every device of a site; the command returns once it runs everywhere."""
    return Command(f"{_WEB} --env RELEASE={release} --wait", deadline=70)


def web_on_port() -> Command:
    """The web server, published on a port of the device."""
    return Command(f"{_WEB} --port {{port}}:8080 --wait", deadline=70)


def web_without_image() -> str:
    """The web server from an image that nobody has; without waiting for what cannot come."""
    return _WEB.replace("{image}", "fleet-test/missing:1")


def job() -> Command:
    """A second workload on the same devices."""
    return Command(f"{_JOB} --wait", deadline=70)


def job_on_port() -> str:
    """The second workload, on the port of the first."""
    return f"{_JOB} --port {{port}}:8080"


def job_that_crashes() -> str:
    """The second workload, ending at once with exit code 3."""
    return _JOB.replace("'sleep 1000000'", "\"sh -c 'exit 3'\"")


ROLLING = """\
apiVersion: fleet.nationtech.io/v1alpha1
kind: FleetDeployment
metadata:
  name: {deployment}
  namespace: {namespace}
spec:
  selector:
    matchLabels:
      site: {site}
  strategy:
    type: Rolling
    maxUnavailable: 1
  workload:
    image: {image}
    command: [httpd, -f, -p, "8080"]
    env:
      RELEASE: "1"
"""
"""The web server as a file, for kubectl or ArgoCD: one device at a time."""
