"""Planted faults: proof that the harness tells a wrong product from a broken world, and points at the component.

`python -m harness.faults` plants each fault, plays the test that owns the rule, and compares the verdict with the one
that must come:

- a fault of the product is a patch in `tests/faults/product`, applied to a scratch copy of the tree from which every
  component then runs; the test must end as Allure `failed`, with a report that points at the component;
- a fault of the world is a named function in `harness.faults.worlds`, done to a world from outside at a named moment;
  the test must end as Allure `broken`, with the cause in its message.

Whatever was planted, no process may be left behind.
"""
