"""Attention layers during an edit: recorded, replayed, looked into."""
