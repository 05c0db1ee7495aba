"""Secrets renewed while the fleet works: docs/decisions/045-rotation.md."""
