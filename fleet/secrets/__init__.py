"""Generated secrets: made once, kept for ever."""
