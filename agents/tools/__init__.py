"""Capabilities: one file, one family of tools."""
