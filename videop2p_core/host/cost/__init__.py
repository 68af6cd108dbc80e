"""What a long node will take, told before it runs: steps and forwards by formula, time and memory by its last run."""
