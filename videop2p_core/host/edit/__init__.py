"""The edit: its inputs, its guider, its sampler, and what it looked at."""
