"""Noise levels, attention, and the algorithms that walk a clip up and down them."""
