"""What a scenario is, and how it is played: commands, steps, checks and their log."""
