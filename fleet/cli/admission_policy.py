"""`fleet server admission-policy`."""

from __future__ import annotations

from fleet.cli.output import document


def admission_policy() -> None:
    """Print a policy by which the cluster warns of objects in namespaces that no server serves. It refuses nothing.

    \b
    Example:
      fleet server admission-policy | kubectl apply -f -
    """  # noqa: D301
    import yaml  # noqa: PLC0415

    from fleet.install import admission_policy as policy  # noqa: PLC0415

    document(yaml.safe_dump_all(policy.admission_policy(), sort_keys=False))
