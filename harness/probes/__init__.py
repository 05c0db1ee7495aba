"""Probes: typed looks at a world's Kubernetes and NATS, without the product's own clients."""
