"""The container engine of a run: which one it is, how it is asked, and engines of our own."""
