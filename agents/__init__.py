"""People: one file, one role (prompt, tools, model role, output type)."""
