"""The pytest plugin: options, markers, fixtures, and the life of a run."""
