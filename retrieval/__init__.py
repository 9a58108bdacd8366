"""The corpus: parse, chunk, embed, index, search. Knows no agent."""
