"""The operator: what Kubernetes objects say becomes keys in NATS, and what devices report becomes their status."""
