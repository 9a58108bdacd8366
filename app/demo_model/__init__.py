"""The offline model: an OpenAI-compatible HTTP server that reads, calls tools and cites.

It is no language model. It reads the conversation by rule, calls the tools it is offered when they fit, fills the JSON
schema it is asked for, and answers by quoting the sentences that fit the question, each with the key of its passage, or
says that it found nothing. The same conversation always gets the same answer, and no answer is keyed to a question.

From the outside in: `__main__` (process), `server` (routes, pace), `faults` and `breakage` (failures on demand),
`wire` (OpenAI's shapes), `reader` (what to do next). Under it `tools` (which to call), `answer` and `evidence` (which
sentences to quote), `parts` (a question taken apart), `shapes` and `fill` (JSON schemas), and at the bottom
`arithmetic`, `tokens` and `words`. Knows nothing of the rest of this project: swapping in a real model is one URL.
"""
