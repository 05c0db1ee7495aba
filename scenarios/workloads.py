"""The workloads of the runbook, as an operator writes them."""

from __future__ import annotations

from harness.scenario.command_line import Command

_WEB = "fleet deployment apply --name {deployment} --image {image} --command 'httpd -f -p 8080' --selector site={site}"
_JOB = "fleet deployment apply --name {deployment2} --image {image} --command 'sleep 1000000' --selector site={site}"


def web(release: int = 1, *, within: float = 70) -> Command:
    """A release of a web server on every device of a site; the command returns once it runs everywhere."""
    return Command(f"{_WEB} --env RELEASE={release} --wait", deadline=within)


def web_with_a_volume() -> Command:
    """The web server with a volume."""
    return Command(f"{_WEB} --volume data:/data --wait", deadline=70)


def web_on_port() -> Command:
    """The web server, published on a port of the device."""
    return Command(f"{_WEB} --port {{port}}:8080 --wait", deadline=70)


def web_that_is_not_well(release: int) -> str:
    """A release whose health check fails, and that gives way after three seconds."""
    return f"{_WEB} --env RELEASE={release} --health-command {UNHEALTHY} --health-interval 0.2 --update-deadline 3"


def web_without_image() -> str:
    """The web server from an image that nobody has; without waiting for what cannot come."""
    return _WEB.replace("{image}", "fleet-test/missing:1")


def job() -> Command:
    """A second workload on the same devices."""
    return Command(f"{_JOB} --wait", deadline=70)


HEALTHY, UNHEALTHY = "true", "false"
"""Programs of the image that say so of a workload, by their exit code."""


def job_that_speaks() -> Command:
    """The second workload, with a line in its log."""
    speaks = _JOB.replace("'sleep 1000000'", "\"sh -c 'echo ready to serve; sleep 1000000'\"")
    return Command(f"{speaks} --wait", deadline=70)


def job_with_everything() -> Command:
    """The second workload with a port, a restart policy, and a health check that passes."""
    more = f"--port {{port}}:8080 --restart on-failure --health-command {HEALTHY} --health-interval 0.5"
    return Command(f"{_JOB} {more} --wait", deadline=70)


def job_with_a_volume() -> Command:
    """The second workload with a volume, a configuration file, memory as a folder, limits, and without rights."""
    more = "--volume data:/data --config-file app.conf:/etc/app.conf:0444 --tmpfs /tmp:1M --memory 64M --pids 100"
    return Command(f"{_JOB} {more} --read-only --user 1000:1000 --cap-drop ALL --wait", deadline=70)


def job_with_a_secret() -> Command:
    """The second workload with a secret as a variable, and as a file."""
    more = "--secret-env PASSWORD={deployment2}/password --secret-file /etc/password={deployment2}/password:0400"
    return Command(f"{_JOB} {more} --wait", deadline=70)


def private_web(secret: str = "", release: int = 0, *, wait: bool = False) -> Command:
    """A release of the web server from an image that a registry gives for a password, with the login in a Secret.

    Without `wait` the command returns at once, for what cannot come.
    """
    private = _WEB.replace("{image}", "{private_image}")
    login = f" --image-pull-secret {secret}" if secret else ""
    return Command(f"{private}{login} --env RELEASE={release}{' --wait' if wait else ''}", deadline=70)


def private_login(secret: str, password: str) -> str:
    """A login for the registry, as a Secret that may be sealed for devices."""
    return _LOGIN.replace("SECRET", secret).replace("PASSWORD", password)


def job_with_privileges() -> str:
    """The second workload, as root of the device."""
    return f"{_JOB} --privileged"


def job_that_is_not_well() -> str:
    """The second workload, whose health check fails."""
    return f"{_JOB} --health-command {UNHEALTHY} --health-interval 0.2"


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

EVERYWHERE = """\
apiVersion: fleet.nationtech.io/v1alpha1
kind: FleetDeployment
metadata:
  name: {deployment2}
  namespace: {namespace}
spec:
  selector: {}
  workload:
    image: {image}
    command: [sleep, "1000000"]
"""
"""A workload for every device."""

COMPOSE = """\
services:
  web:
    image: {image}
    command: [sleep, "1000000"]
    restart: always
    environment: [MODE=composed]
    volumes: ["data:/data"]
"""
"""A Compose file of one service."""

STACK = """\
apiVersion: fleet.nationtech.io/v1alpha1
kind: FleetDeployment
metadata:
  name: {deployment}
  namespace: {namespace}
spec:
  selector:
    matchLabels:
      site: {site}
  workload:
    type: pod
    initContainers:
      - name: prepare
        image: {image}
        command: [sh, -c, "echo prepared | tee /data/index.html"]
        mounts: [{type: volume, source: data, path: /data}]
    containers:
      - name: web
        image: {image}
        command: [httpd, -f, -p, "8080", -h, /data]
        dependsOn: [{name: db, condition: Healthy}]
        env: {RELEASE: "1"}
        mounts: [{type: volume, source: data, path: /data, readOnly: true}]
        health: {command: [wget, -q, -O-, "http://db:7000/index.html"], interval: 0.5}
      - name: db
        image: {image}
        command: [httpd, -f, -p, "7000", -h, /data]
        secretEnv: {PASSWORD: {name: {deployment}, key: password}}
        mounts: [{type: volume, source: data, path: /data}]
        health: {command: [wget, -q, -O-, "http://127.0.0.1:7000/index.html"], interval: 0.5}
"""
"""Containers that belong together: one prepares a volume, one shows what is in it, and one asks that one by name."""

STACK_IN_COMPOSE = """\
services:
  web:
    image: {image}
    command: [sh, -c, "md5sum /run/secrets/password; exec httpd -f -p 8080 -h /data"]
    secrets: [password]
    depends_on:
      prepare: {condition: service_completed_successfully}
    healthcheck: {test: [CMD, wget, -q, -O-, "http://127.0.0.1:8080/index.html"], interval: 500ms}
    volumes: ["data:/data:ro"]
  prepare:
    image: {image}
    command: [sh, -c, "echo prepared > /data/index.html"]
    volumes: ["data:/data"]
secrets:
  password: {external: true, name: {deployment}/password}
"""
"""A Compose file of two services: one waits for the end of the other, and has a Secret of Kubernetes in a file."""

SHOP_IN_COMPOSE = """\
services:
  web:
    image: {private_image}
    pull_policy: always
    x-fleet-image-pull-secret: {deployment2}
    command: [httpd, -f, -p, "8080", -h, /www]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: {image}
    command: [sh, -c, "md5sum /run/secrets/password > /data/index.html; exec httpd -f -p 7000 -h /data"]
    healthcheck: {test: [CMD, wget, -q, -O-, "http://127.0.0.1:7000/index.html"], interval: 500ms}
    volumes: ["data:/data"]
    secrets: [password]
  backup:
    image: {image}
    command: [sleep, "1000000"]
    volumes: ["data:/data:ro"]
secrets:
  password: {external: true, name: {own}/password}
"""
"""As the README has it: three services with a volume, a Secret of Kubernetes and a private image."""

_LOGIN = """\
apiVersion: v1
kind: Secret
metadata:
  name: SECRET
  namespace: {namespace}
  labels: {fleet.nationtech.io/sealable: "true"}
type: kubernetes.io/dockerconfigjson
stringData:
  .dockerconfigjson: |
    {"auths": {"{registry}": {"username": "puller", "password": "PASSWORD"}}}
"""
