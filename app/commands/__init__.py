"""What each command does: one file, one family of commands. Each opens what it needs and ends in an exit code."""
