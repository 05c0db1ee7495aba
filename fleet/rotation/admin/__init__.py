"""The rotation of an admin's access token at the identity provider."""

ADMIN_TOKEN = "admin_token"  # noqa: S105 - a name
"""What the token is called among the secrets."""
