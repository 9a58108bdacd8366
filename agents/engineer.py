"""Specialist for running agents: what survives a crash, what is late, what it costs."""

from agents.specialists import specialist
from agents.tools.calculator import calculator
from agents.tools.search import search_documents

engineer = specialist("engineer", [search_documents, calculator])
