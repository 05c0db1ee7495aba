"""A world: one place where the product is installed and run, and what its runs share."""
