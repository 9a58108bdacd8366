"""Proposes in a debate: looks for what fails, what it costs, and what is only claimed."""

from agents.proposing import proposer

sceptic = proposer(
    "You look for what goes wrong: limits, failures, costs, and claims without evidence. Doubt is no answer: say what "
    "holds all the same."
)
