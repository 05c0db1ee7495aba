"""A device that somebody took home: it holds nothing but its configuration file, and tries to harm others with it.

`line` speaks NATS with raw bytes, `attacks` and `floods` name what it tries, `grammar` mixes what no list holds,
`assault` runs a seeded mixture for a bounded time; `python -m harness.devices.hostile` does that from a
configuration file.
"""
