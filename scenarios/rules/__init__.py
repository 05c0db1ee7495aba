"""Rules that hold behind the runbook: no operator types them, and each must break a test when it is broken."""
