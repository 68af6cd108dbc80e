"""What an edit is: prompts, their alignment, two small matrices a step, the mask."""
