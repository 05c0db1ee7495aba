"""Stand-ins for what cannot run here, each held to the real thing's behaviour."""
