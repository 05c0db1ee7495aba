"""Answers readers of this device's logs, within bounds that leave bandwidth for heartbeats and reports."""
