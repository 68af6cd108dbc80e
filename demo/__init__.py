"""The demo world: rendered scenes with ground truth, and a small model trained on them."""
