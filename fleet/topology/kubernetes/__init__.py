"""Kubernetes as a place for a fleet server: the plan as objects, applied, waited for, and removed again."""
