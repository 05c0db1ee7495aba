"""The identity provider: its address, the tokens of devices and admins, and Zitadel's management API."""
