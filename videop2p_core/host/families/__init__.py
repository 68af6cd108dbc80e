"""What differs from one family of models to the next."""
