"""The read-only web page: what is wrong now, since when, what changed last, and which command helps.

It is a process of its own beside the operator (`python -m fleet.web`), which starts it and gives it a token by which
it may read devices and deployments, and nothing else. It writes nothing anywhere.
"""
