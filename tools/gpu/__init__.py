"""A pretend CUDA device, and the whole path of the pack on it (python dev.py gpu)."""
