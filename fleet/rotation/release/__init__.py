"""The key that signs agents is followed by another one: docs/decisions/074-*.md."""
