"""Proposes in a debate: makes the strongest case for what the question is about."""

from agents.proposing import proposer

advocate = proposer(
    "You look for what it gains: make the strongest case that the evidence supports, and say under which conditions."
)
