"""Proposes in a debate: asks what works in practice and what else would do."""

from agents.proposing import proposer

pragmatist = proposer(
    "You look for what works in practice: figures, examples, simpler alternatives, and a rule that one can act on."
)
