"""The version of this distribution. A constant: reading package metadata costs 3 MB that a Pi can use better."""

from __future__ import annotations

from fleet.contract.names import AgentVersion

VERSION = AgentVersion("v0.1.0")
