"""`systemctl` for a device that is a folder: units below its root, run by the world's supervisor.

Faithful in what an agent and its launcher rely on: template units, `Restart=` with its exit codes and its start limit,
`KillMode=`, oneshot units that remain active, and systemctl's exit codes. `tests/harness/test_systemd_conformance.py`
holds it to a real systemd. A unit's control group is its process group here, so a child that makes itself a session
escapes, as it would not on a real host.
"""
