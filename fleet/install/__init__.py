"""Desired state of an install, an enrollment, a device set-up."""
