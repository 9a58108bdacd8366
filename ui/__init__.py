"""The chat UI, on Streamlit. Speaks HTTP only."""
