"""What dev.py is made of: the environment, the pack as a package, a running host."""
