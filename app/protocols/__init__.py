"""The same runs in other protocols' words: as a chat model, as an agent, as tools. All run through `app/runs.py`."""
