"""The plan of a server as a Helm chart: what a direct install applies, with values in place of its options.

The templates are no second description. The plan's renderer is run for each choice that values may make, and what
differs between two renderings becomes a condition; so chart and direct install cannot drift.
"""
