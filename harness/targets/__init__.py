"""Targets: places where a world can be, each behind `harness.targets.registry.open_world`."""
