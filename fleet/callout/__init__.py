"""The NATS auth callout service: a valid token says who, the registry says whether."""
