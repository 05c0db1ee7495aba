"""The contract: wire types, names, buckets, permissions, Kubernetes objects and configuration files."""
