"""One run: its directory and its live session. Files, but no processes."""
