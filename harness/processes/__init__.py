"""Local processes that a run starts, supervises and ends."""
