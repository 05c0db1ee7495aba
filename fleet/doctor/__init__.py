"""Checks each component of a server from the admin's machine, and says what is wrong and what to do next."""
