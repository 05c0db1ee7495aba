"""The operator: it writes Kubernetes objects as keys into NATS, and reports of devices into their status."""
