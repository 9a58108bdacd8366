"""Specialist for safety: what agents may do, what needs a person, and what a document may not tell them."""

from agents.specialists import specialist
from agents.tools.notes import list_notes, save_note
from agents.tools.search import search_documents

guardian = specialist("guardian", [search_documents, save_note, list_notes])
