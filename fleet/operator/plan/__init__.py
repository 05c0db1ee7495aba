"""Deciding only what may have changed: the same decisions as `fleet.operator.reconcile`, at the cost of the change.

`reconcile` looks at everything, and is what this is held to by a test. Here its inputs are kept by device and by
deployment, and what an event or a passed deadline can have changed is decided again. No I/O.
"""
