"""Machine keys of devices renewed while the fleet works: docs/decisions/056-the-machine-key-of-a-device.md."""
