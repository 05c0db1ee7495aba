"""Measured claims: scripts that print a table each and write it as JSON; `python -m benchmarks` runs them all."""
