"""What an agent's upgrade does on the device: its disk, its units, its download, and its connection."""
