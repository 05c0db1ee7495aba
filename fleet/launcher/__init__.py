"""What starts an agent on a device; `launcher` is installed there as one file."""
