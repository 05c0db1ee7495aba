"""How we talk to NATS: a connection that comes back, typed buckets, pieces of files, and keys."""
