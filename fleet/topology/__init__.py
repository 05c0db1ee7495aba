"""Places a Score can be interpreted on, and what each can do."""
