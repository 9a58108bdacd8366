"""Specialist for the shape of a team: which pattern fits a task, and when it pays."""

from agents.specialists import specialist
from agents.tools.search import search_documents

architect = specialist("architect", [search_documents])
