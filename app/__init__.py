"""Where a process starts and the world is wired."""
