"""How we reach a Kubernetes API server: kubeconfig files, connections, and the paths of objects."""
