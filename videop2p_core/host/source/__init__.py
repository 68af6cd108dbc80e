"""The source clip: tuned on, inverted, reconstructed, resumed after a cancelled run."""
