"""Agents as artefacts: built from the pinned sources, signed, kept in NATS, and verified before one is run."""
