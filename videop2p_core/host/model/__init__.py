"""What is patched into a MODEL, and what is asked of it beforehand: layers, frames, memory, identity."""
