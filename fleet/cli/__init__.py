"""The admin's commands."""
