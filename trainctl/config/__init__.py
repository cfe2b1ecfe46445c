"""What a config is and how it may change. Pure: no files, no processes, no clock."""
