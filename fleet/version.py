"""The version of this distribution, and of the agent in it. A constant, which the build of an agent replaces."""

from __future__ import annotations

from fleet.contract.names import AgentVersion

VERSION = AgentVersion("v0.1.0")
