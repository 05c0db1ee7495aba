"""The device's side: makes the desired state true through the container engine, and reports what came of it."""
