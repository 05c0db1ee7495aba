"""Secrets sealed so that one device alone opens them, for the operator that seals and the agent that opens."""
