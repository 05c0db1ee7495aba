"""A stand-in for a container engine: the part of the Docker Engine API that the agent uses, over real processes.

    python -m harness.doubles.engine --socket PATH --state DIR [--registry DIR]

A container is a process in namespaces of its own (pid, net; as root or with user namespaces), rooted in a copy of its
image. So exits, signals to process 1, restart policies, health checks and taken ports are real. Containers end with
the double, as they do with a Docker daemon that is killed, and start again by their policy when it comes back. The
real engine's conformance suite, `tests/engine`, runs against both.

`--registry` names a folder of docker archives: what can be pulled. Faults, for tests:

    POST /_double/faults  {"method": "POST", "path": "/start$", "status": 500, "message": "...", "times": 1}
    DELETE /_double/faults

A fault without `status` hangs until it is removed; without `times` it stays. Its `path` is a regular expression.
"""
